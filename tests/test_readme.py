"""The README's Python runs as it stands."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_ten_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    scope: dict = {}
    exec(code, scope)
    outputs = scope["model"](scope["images"])
    assert {task: output.shape for task, output in outputs.items()} == {"gender": (4, 2), "age": (4, 8)}
    assert type(scope["plain"]).__name__ == "ResNet"
    assert sorted(path.name for path in (tmp_path / "my_model").iterdir()) == ["config.json", "model.safetensors"]
