"""The code in a card."""

import re

from PIL import Image


def code_of(card):
    """The Python that a card shows."""
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    return code


def run_code(code, folder, monkeypatch):
    """What the names in the code stand for after it has run in a folder, beside a photo."""
    monkeypatch.chdir(folder)
    Image.new("RGB", (90, 70), (200, 120, 40)).save("photo.jpg")
    scope: dict = {}
    exec(code, scope)
    return scope
