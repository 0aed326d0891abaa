"""The code in a card."""

import re


def code_of(card):
    """The Python that a card shows."""
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    return code


def run_code(code, folder, monkeypatch):
    """What the names in the code stand for after it has run in a folder."""
    monkeypatch.chdir(folder)
    scope: dict = {}
    exec(code, scope)
    return scope
