"""Files and modules of the user's own: imported once, and named again."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.matrices import NIGHTLY
from tsbn_hub.data import MultiDigits, tasks_of
from tsbn_hub.files.module_names import files_needed_by
from tsbn_hub.files.own_code import can_be_found, import_all, import_own, imported, origin_of, origins_of, place_of
from tsbn_hub.training import TrainingConfig
from tsbn_hub.training.recipe.building import build_data


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", sys.modules)
    before = dict(sys.modules)
    yield
    for name in [name for name in sys.modules if name not in before]:
        del sys.modules[name]


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def write(path, text="class Thing: pass\ndef made(): pass\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_is_imported_once(here):
    write(here / "own" / "things_a.py")
    module = import_own("own/things_a.py")
    assert import_own("./own/things_a.py") is import_own(str(here / "own/things_a.py")) is module
    assert sys.modules["things_a"] is module, "worker processes look for it there"
    assert sys.path[0] == str(here / "own")
    assert [origin_of(entry) for entry in (module.Thing, module.made)] == ["own/things_a.py"] * 2
    assert place_of("own/things_a.py") == here / "own" / "things_a.py"


def test_a_module_is_imported_once_from_the_working_directory(here):
    write(here / "things_b" / "inner" / "kinds.py")
    module = import_own("things_b.inner.kinds")
    assert import_own("things_b.inner.kinds") is module
    assert origin_of(module.Thing) == "things_b.inner.kinds" and place_of("things_b.inner.kinds") == here
    write(here / "things_c" / "__init__.py")
    assert origin_of(import_own("things_c").Thing) == "things_c" and place_of("things_c") == here


def test_a_module_of_another_folder(here, tmp_path):
    write(tmp_path / "there" / "things_d.py")
    assert not can_be_found("things_d", [Path()])
    with pytest.raises(ModuleNotFoundError, match="things_d"):
        import_own("things_d")
    assert str(here) not in sys.path, "it has nothing to give"
    assert can_be_found("things_d", [Path(), tmp_path / "there"])
    import_own("things_d", [Path(), tmp_path / "there"])
    assert place_of("things_d") == tmp_path / "there"


def test_the_first_folder_that_has_a_file_wins(here, tmp_path):
    write(tmp_path / "there" / "things_e.py", "WHERE = 'there'")
    assert import_own("things_e.py", [Path(), tmp_path / "there"]).WHERE == "there"
    del sys.modules["things_e"]
    write(here / "things_e.py", "WHERE = 'here'")
    assert import_own("things_e.py", [Path(), tmp_path / "there"]).WHERE == "here"


def test_what_another_has_imported_is_the_same(here):
    write(here / "things_f.py")
    sys.path.insert(0, str(here))
    __import__("things_f")
    module = sys.modules["things_f"]
    assert origin_of(module.Thing) == "things_f" and imported("things_f.py") is None
    assert import_own("things_f.py") is module and origin_of(module.Thing) == "things_f.py"
    assert imported("elsewhere/things_f.py") is module


@pytest.mark.parametrize("name", ["things_h.py", "things.v2.py", "things-3.py"])
def test_a_file_is_executed_once_whatever_its_name(name, here):
    write(here / name, "from pathlib import Path\nwith Path(__file__ + '.times').open('a') as f: f.write('x')")
    modules = [import_own(each) for each in (name, f"./{name}", str(here / name))]
    assert modules == [modules[0]] * 3 and (here / f"{name}.times").read_text() == "x"
    assert place_of(name) == here / name


def test_a_file_that_fails_leaves_nothing(here):
    sys.modules["things_g"] = earlier = type(sys)("things_g")
    write(here / "things_g.py", "raise KeyError('mine')")
    with pytest.raises(KeyError, match="mine"):
        import_own("things_g.py")
    assert sys.modules["things_g"] is earlier and not hasattr(earlier, "__tsbn_hub_name__")
    write(here / "things_g.py", "FINE = True")
    assert import_own("things_g.py").FINE


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.py", r"'none\.py' cannot be imported: there is no file none\.py"),
        ("none/at/all.py", "there is no file none/at/all.py"),
        ("https://example.org/kinds.py", "there is no file https://example.org/kinds.py"),
        ("-m", "neither a file, path/to/file.py, nor a module"),
        ("", "neither a file"),
        ("a..b", "neither a file"),
        (".kinds", "neither a file"),
        ("os;x", "neither a file"),
        ("./text.txt", r"text\.txt is no Python file"),
    ],
)
def test_what_cannot_be_imported(name, message, here):
    write(here / "text.txt")
    with pytest.raises(ValueError, match=message):
        import_all([name])
    assert not can_be_found(name, [Path()]) or name.endswith(".txt")


def test_what_is_the_packages_own_has_no_origin():
    import timm
    import torch

    assert origins_of([MultiDigits, torch.nn.LayerNorm, timm.layers.LayerNorm2d, timm.create_model, None, 3]) == []
    assert origins_of([Path, Path, MultiDigits, subprocess.run]) == ["pathlib", "subprocess"]


def test_only_what_the_user_has_named_counts_as_imported():
    assert imported("os.py") is None and imported("/usr/lib/os.py") is None
    assert imported("os") is not None and imported("things_never_seen") is None


SCRIPT = """
import os
from tsbn_hub.files.own_code import import_own, imported, origin_of, place_of

class Thing: pass

print(origin_of(Thing), place_of(origin_of(Thing)))
print(import_own("src/main_script.py").Thing is Thing, imported("elsewhere/main_script.py") is not None)
os.chdir("/")
print(origin_of(Thing))
"""


def test_the_script_that_runs(python, tmp_path):
    script = write(tmp_path / "src" / "main_script.py", SCRIPT)
    if NIGHTLY:
        done = subprocess.run([sys.executable, "src/main_script.py"], cwd=tmp_path, capture_output=True, text=True)
    else:
        done = python("import runpy; runpy.run_path('src/main_script.py', run_name='__main__')", cwd=tmp_path)
    assert done.stdout.splitlines() == ["src/main_script.py " + str(script), "True True", "src/main_script.py"], done


def test_an_interactive_session_has_no_origin(python):
    code = """
        from tsbn_hub.files.own_code import origin_of
        class Thing: pass
        print(origin_of(Thing))
    """
    assert python(code).stdout == "None\n"


# Files that want different modules of one name.


DATA = """
from {helper} import TASK, CLASSES
class Data:
    num_classes = {{TASK: CLASSES}}
    def __init__(self, split): pass
    def __len__(self): return 8
    def __getitem__(self, index): return None
"""


def two_data_sets(folder, helpers=("helper", "helper"), files=("data", "data")):
    for name, classes, helper, file in zip(("faces", "scenes"), (2, 5), helpers, files, strict=True):
        write(folder / name / f"{file}.py", DATA.format(helper=helper))
        write(folder / name / f"{helper}.py", f"TASK, CLASSES = {name!r}, {classes}\n")
    data = [f"{name}/{file}.py:Data" for name, file in zip(("faces", "scenes"), files, strict=True)]
    return build_data(TrainingConfig(model="test_resnet_tsbn", output="unused", data=data), "train")


@pytest.mark.parametrize("files", [("data", "data"), ("of_faces", "of_scenes")])
def test_two_helpers_of_one_name(files, here):
    message = r"scenes/\w+\.py needs .*scenes/helper.py as the module 'helper', which is .*faces/helper.py here.*rename"
    with pytest.raises(ValueError, match=message):
        two_data_sets(here, files=files)


def test_two_data_files_of_one_name(here):
    data = two_data_sets(here, helpers=("of_faces", "of_scenes"))
    assert [(task.name, task.num_classes) for task in tasks_of(data)] == [("faces", 2), ("scenes", 5)]


@pytest.mark.parametrize(
    "code",
    [
        "def later():\n    import helper",
        "from other import SIDE",
        "import package.helper",
        "from package import inner",
        "import spaces.helper",
    ],
    ids=["imported later", "by another helper", "in a package", "relatively", "in a folder without __init__"],
)
@pytest.mark.parametrize("first", ["imports it", "imported it"])
def test_ways_to_import(code, first, here):
    for name in ("faces", "scenes"):
        write(here / name / f"of_{name}.py", code)
        write(here / name / "helper.py", "SIDE = 32")
        write(here / name / "other.py", "from helper import SIDE")
        write(here / name / "package" / "__init__.py", "")
        write(here / name / "package" / "helper.py", "")
        write(here / name / "package" / "inner.py", "from . import helper")
        write(here / name / "spaces" / "helper.py", "")
    module = import_own("faces/of_faces.py")
    if first == "imported it" and hasattr(module, "later"):
        module.later()
    before = dict(sys.modules)
    with pytest.raises(ValueError, match=r"of_scenes.py needs .*scenes/.* as the module .*faces/.*rename"):
        import_own("scenes/of_scenes.py")
    assert sys.modules == before


def test_a_helper_that_is_a_module_already(here):
    write(here / "faces" / "of_faces.py", "import helper")
    write(here / "faces" / "helper.py")
    write(here / "scenes" / "helper.py")
    import_own("faces/of_faces.py")
    with pytest.raises(ValueError, match=r"scenes/helper.py needs .*rename"):
        import_own("scenes/helper.py")


def test_names_of_others(here):
    write(here / "random.py")
    with pytest.raises(ValueError, match=r"random.py is named as Python's own module 'random'.*rename the file"):
        import_own("random.py")
    write(here / "timm.py")
    with pytest.raises(ValueError, match=r"timm.py needs .*timm.py as the module 'timm', which is .*rename"):
        import_own("timm.py")


def test_modules_of_two_folders(here, tmp_path):
    for name in ("one", "other"):
        write(tmp_path / name / "things_of_two.py", f"WHERE = {name!r}")
    assert import_own("things_of_two", [tmp_path / "one"]).WHERE == "one"
    assert import_own("things_of_two", [tmp_path / "one"]).WHERE == "one"
    with pytest.raises(ValueError, match=r"The import of 'things_of_two' needs .*other.*which is .*one.*rename"):
        import_own("things_of_two", [tmp_path / "other"])


def test_one_folder_has_one_helper(here):
    write(here / "faces" / "helper.py", "SIDE = 32")
    for name in ("train", "test"):
        write(here / "faces" / f"{name}_of_faces.py", "from helper import SIDE\nimport torch, os.path")
        assert import_own(f"faces/{name}_of_faces.py").SIDE == 32
    assert list(files_needed_by(here / "faces" / "train_of_faces.py")) == ["helper"]
    write(here / "broken.py", "import (")
    with pytest.raises(SyntaxError):
        import_own("broken.py")
