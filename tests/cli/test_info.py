"""`tsbn info`."""

import json
import re

from .commands import tsbn


def test_info(checkpoint):
    told = tsbn("info", checkpoint)
    assert told.exit_code == 0 and max(map(len, told.output.splitlines())) <= 100
    assert re.search(r"keys +classification \(2\) +linear +194", told.output)
    cost = json.loads(tsbn("info", checkpoint, "--json").stdout)
    assert [task["name"] for task in cost["tasks"]] == ["keys", "corner"] and cost["image_shape"] == [3, 160, 160]


def test_info_of_nothing(tmp_path):
    told = tsbn("info", tmp_path)
    assert told.exit_code == 1 and re.search("^tsbn: .* has no config.json", told.stderr)
