"""What a folder of anybody's may import: nothing without being asked, but what is the user's own."""

import json
import logging
import os
import sys
from pathlib import Path

import pytest

from tsbn_hub.files.checkpoints import CheckpointError
from tsbn_hub.files.names import MARK
from tsbn_hub.files.own_code import import_own
from tsbn_hub.files.permission import NotImportedError, code_named_in, leave_mark, names_in
from tsbn_hub.files.registry import UnknownNameError

TRACE = "from pathlib import Path\nPath({!r}).touch()\n"


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(sys.modules)
    (tmp_path / "here").mkdir()
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield
    forget(before)


def forget(before):
    for name in [name for name in sys.modules if name not in before]:
        del sys.modules[name]


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def trace(tmp_path):
    """Is made by whatever is imported of the code that is written here."""
    return tmp_path / "trace"


def write(path, trace):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TRACE.format(str(trace)))
    return path


def tried(folder, names, trust=False, error=UnknownNameError):
    """What a command says that needs what is named."""
    with pytest.raises(ValueError) as told, code_named_in(folder, names, trust):
        raise error("There is no kind 'mine'.")
    return told.value


def imports(folder, names, trust=False):
    with code_named_in(folder, names, trust) as found:
        return found


def records(tmp_path):
    return list((tmp_path / "cache" / "tsbn_hub" / "runs").glob("*"))


@pytest.fixture
def own(tmp_path, run, trace):
    """The user's own run, with a file and a module of theirs; a later command knows nothing of them."""
    before = dict(sys.modules)
    write(tmp_path / "here" / "src" / "kinds_of_mine.py", trace)
    write(tmp_path / "here" / "package_of_mine" / "heads.py", trace)
    names = ["src/kinds_of_mine.py", "package_of_mine.heads"]
    for name in names:
        import_own(name)
    leave_mark(run, names)
    forget(before)
    sys.path[:] = [folder for folder in sys.path if "here" not in Path(folder).parts]
    trace.unlink()
    return names


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_users_own_is_imported_from_anywhere(own, run, trace, tmp_path, monkeypatch, elsewhere):
    if elsewhere:
        (tmp_path / "there").mkdir()
        monkeypatch.chdir(tmp_path / "there")
    found = imports(run, own)
    assert found == {own[0]: str(tmp_path / "here" / own[0]), own[1]: own[1]}
    assert trace.exists() and {"kinds_of_mine", "package_of_mine.heads"} < set(sys.modules)


def test_the_names_of_a_published_config_are_known_too(run, trace, tmp_path):
    before, path = dict(sys.modules), write(tmp_path / "far" / "kinds_by_path.py", trace)
    import_own(str(path))
    leave_mark(run, [str(path)])
    forget(before)
    assert imports(run, ["kinds_by_path.py"]) == {"kinds_by_path.py": str(path)}


def test_a_part_of_what_the_record_has(own, run, trace):
    assert imports(run, own[:1]) and trace.exists()


def test_without_a_mark_nothing_is_imported(own, run, trace):
    (run / MARK).unlink()
    error = tried(run, own)
    assert isinstance(error, NotImportedError) and not trace.exists()
    for part in ("There is no kind 'mine'.", str(run), own[0], own[1], f"--import {own[0]}", "--trust", "trust=True"):
        assert part in str(error)


def test_a_record_that_is_gone(own, run, trace, tmp_path):
    for record in records(tmp_path):
        record.unlink()
    assert isinstance(tried(run, own), NotImportedError) and not trace.exists()


def test_a_record_that_is_damaged(own, run, trace, tmp_path):
    for record in records(tmp_path):
        record.write_text("{")
    assert isinstance(tried(run, own), NotImportedError) and not trace.exists()


@pytest.mark.parametrize("names", [["src/evil.py"], ["src/kinds_of_mine.py", "src/evil.py"], ["evil_module"]])
def test_a_mark_that_was_copied_to_a_folder_that_names_something_else(own, tmp_path, trace, names):
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / MARK).write_bytes((tmp_path / "run" / MARK).read_bytes())
    for folder in (Path(), Path("src"), stranger, stranger / "src"):
        write(folder / "evil.py", trace)
        write(folder / "evil_module.py", trace)
    assert isinstance(tried(stranger, names), NotImportedError) and not trace.exists()


@pytest.mark.parametrize(
    "mark", ["", "0" * 32, "../../../evil", "0" * 31 + "\n", "0" * 10**6, "\udcff" * 8], ids=lambda mark: mark[:9]
)
def test_a_mark_that_a_stranger_made_up(own, run, trace, mark, tmp_path):
    (tmp_path / "evil.json").write_text(json.dumps({name: str(tmp_path / "here" / own[0]) for name in own}))
    (run / MARK).write_bytes(mark.encode(errors="surrogateescape"))
    assert isinstance(tried(run, own), NotImportedError) and not trace.exists()


def test_a_mark_that_is_no_file(own, run, trace):
    (run / MARK).unlink()
    os.mkfifo(run / MARK)
    assert isinstance(tried(run, own), NotImportedError) and not trace.exists()


NAMES = ["x.py", "./x.py", "../../x.py", "{}/x.py", "x", "a.x", "https://example.org/x.py", "-x", "-m", "", "\0.py",
         "x" * 5000 + ".py", "x; import os"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:12])
def test_names_of_a_strangers(name, run, trace, tmp_path):
    name = name.format(tmp_path)
    for folder in (Path(), run, tmp_path, tmp_path.parent, run / "a", Path("a")):
        write(folder / "x.py", trace)
    assert name in str(tried(run, [name])) and not trace.exists()
    assert imports(run, [name]) == {}, "nothing fails before it is needed"
    (tmp_path.parent / "x.py").unlink()


def test_trust(run, trace, tmp_path):
    write(run / "beside.py", trace)
    assert imports(run, ["beside.py"], trust=True) == {"beside.py": str(run / "beside.py")} and trace.exists()
    write(Path("both.py"), tmp_path / "here_first")
    write(run / "both.py", tmp_path / "there_first")
    imports(run, ["both.py"], trust=True)
    assert (tmp_path / "here_first").exists() and not (tmp_path / "there_first").exists()
    write(run / "package_beside" / "kinds.py", tmp_path / "package")
    assert imports(run, ["package_beside.kinds"], trust=True) and (tmp_path / "package").exists()


@pytest.mark.parametrize("name", ["nowhere.py", "no_module_of_this_name", "-x"])
def test_trust_in_what_is_not_there(name, run):
    assert imports(run, [name], trust=True) == {}
    told = str(tried(run, [name], trust=True))
    assert f"names {name}, which is neither in the working directory nor in that folder" in told


def test_what_is_imported_already_needs_no_permission(run, trace, tmp_path):
    write(tmp_path / "far" / "given.py", trace)
    import_own(str(tmp_path / "far" / "given.py"))
    assert imports(run, ["src/given.py", "json"]) == {
        "src/given.py": str(tmp_path / "far" / "given.py"),
        "json": "json",
    }
    assert type(tried(run, ["given.py", "json"])) is UnknownNameError


@pytest.mark.parametrize("error", [TypeError, KeyError, RuntimeError, CheckpointError, AttributeError])
def test_whatever_fails_says_what_is_missing(error, run):
    with pytest.raises(NotImportedError, match=r"missing\.py") as told, code_named_in(run, ["missing.py"]):
        raise error("as it is")
    assert type(told.value.__cause__) is error


def test_a_failure_within_a_failure_says_it_once(run):
    with pytest.raises(NotImportedError) as told, code_named_in(run, ["a.py"]), code_named_in(run, ["b.py"]):
        raise ValueError("why")
    assert "b.py" in str(told.value) and "a.py" not in str(told.value)


@pytest.mark.parametrize("error", [OSError, MemoryError, KeyboardInterrupt])
def test_what_has_other_reasons_stays(error, run):
    with pytest.raises(error) as told, code_named_in(run, ["missing.py"]):
        raise error("full disk")
    assert "missing.py" not in str(told.value)


@pytest.mark.parametrize("value", ["kinds.py", {"a": 1}, [1], [["a"]], None])
def test_a_config_whose_imports_are_no_list(value):
    with pytest.raises(CheckpointError, match=r"config.json has imports=.* must be a list"):
        names_in({"imports": value}, Path("config.json"))
    assert names_in({}, Path("config.json")) == []


def test_marks(own, run, tmp_path):
    first = (run / MARK).read_text()
    (run / f".{MARK}.left_by_a_kill").touch()
    assert len(first) == 32 and [path.stem for path in records(tmp_path)] == [first]
    for name in own:
        import_own(name)
    leave_mark(run, own)
    assert [path.name for path in run.iterdir()] == [MARK]
    assert (run / MARK).read_text() == first, "nothing has changed"
    leave_mark(run, own[:1])
    second = (run / MARK).read_text()
    assert second != first and json.loads((records(tmp_path)[0].with_name(f"{second}.json")).read_text()).keys() == {
        own[0]
    }
    leave_mark(run, [])
    assert not (run / MARK).exists(), "a run without such code has no mark"


def test_a_cache_that_cannot_be_written(run, trace, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    write(Path("warned.py"), trace)
    import_own("warned.py")
    with caplog.at_level(logging.WARNING):
        leave_mark(run, ["warned.py"])
    assert "need --import, or --trust" in caplog.text and not (run / MARK).exists()


def test_the_cache_of_a_user(run, trace, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write(Path("noted.py"), trace)
    import_own("noted.py")
    leave_mark(run, ["noted.py"])
    assert (tmp_path / "home" / ".cache" / "tsbn_hub" / "runs" / f"{(run / MARK).read_text()}.json").is_file()
