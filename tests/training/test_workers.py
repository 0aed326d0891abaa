"""Worker processes that load data: what goes wrong in one is told in a line, and the command ends."""

from tests.training import processes
from tests.training.small_runs import FIRST, signals, write_config

BROKEN = """

class Broken(Noisy):
    def __getitem__(self, at):
        if get_worker_info() is not None and at in (7, 8, 9):
            raise OSError("image file is truncated")
        return super().__getitem__(at)
"""


def ended(config, environment=()):
    """What `tsbn train` tells, of a run that must end by itself."""
    codes = processes.finish(processes.start(config, environment=environment), timeout=60)
    printed = processes.printed(config)
    assert codes == [1] and "Traceback" not in printed, printed
    return printed


def test_a_sample_that_cannot_be_read(tmp_path):
    config = write_config(tmp_path, "run", workers=2, data=f"{tmp_path}/noisy.py:Broken")
    with (tmp_path / "noisy.py").open("a") as file:
        file.write(BROKEN)
    assert "\ntsbn: image file is truncated\nThis was sample " in "\n" + ended(config)


def test_a_killed_worker(tmp_path):
    config = write_config(tmp_path, "run", workers=2)
    told = ended(config, signals("SIGKILL", FIRST + 5))
    assert "tsbn: DataLoader worker (pid" in told and "try fewer workers" in told
