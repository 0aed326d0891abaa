"""Settings of all tests."""

import gc
import os
import textwrap
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from hypothesis import settings

from tests.forks import Forks
from tests.matrices import NIGHTLY

pytest_plugins = "tests.hub.fixtures"

# Several test processes share the cores.
torch.set_num_threads(1)
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Property tests: 50 examples, the same in every run, so that a change is what breaks them. HYPOTHESIS_PROFILE=nightly
# looks at 1,000 others each time. A test names a number of its own only where an example is slow.
settings.register_profile("ci", max_examples=50, derandomize=True, deadline=None)
settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is imported and collected stays, and searches for garbage need not look at it: not now, and not in tests."""
    gc.disable()
    collected = yield
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 10, 10)  # by default 3% of the tests' time goes into such searches
    return collected


def pytest_collection_modifyitems(config, items):
    """What is marked `nightly` is left out by day."""
    by_night = [] if NIGHTLY else [item for item in items if item.get_closest_marker("nightly")]
    if by_night:
        config.hook.pytest_deselected(items=by_night)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]
    items[:] = in_order_of_workers(items)


def in_order_of_workers(items):
    """The tests in an order in which a parent of forks is started by one of three workers, and not by each.

    A worker begins with a third of the tests, and takes over from the end of another's. So the files whose processes
    are forks of one parent come first in a third: those of tests.training.processes, and those of the fixtures.
    """
    fixtures = {"clients", "other_clients", "python"}
    trained = {item.path for item in items if hasattr(getattr(item, "module", None), "processes")}
    forked = {item.path for item in items if fixtures.intersection(getattr(item, "fixturenames", ()))} - trained
    first, second = ([item for item in items if item.path in files] for files in (trained, forked))
    in_front = trained | forked
    others = [item for item in items if item.path not in in_front]
    rest = max(0, len(items) // 3 - len(first))
    return [*first, *others[:rest], *second, *others[rest:]]


@pytest.fixture(autouse=True)
def _fresh_accelerate():
    """Accelerate keeps its state for a process: a test must not find an earlier one's."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(autouse=True)
def _gradients_are_on():
    """A test that leaves gradients off fails itself, not the ones after it."""
    yield
    on = torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    assert on, "This test left gradients off."


@pytest.fixture(scope="session")
def python(_own_cache):
    """Run code in a process of its own, which has imported timm and nothing further; it is ended, and not checked."""
    with Forks("timm") as forks:

        def run(code, *arguments, cwd=None):
            arguments = ["-c", textwrap.dedent(code), *map(str, arguments)]
            return forks.run(*arguments, cwd=cwd or Path.cwd(), env=os.environ)

        yield run


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Where runs are noted: not in the user's cache. Commands in processes of their own use the same."""
    user_cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    with pytest.MonkeyPatch.context() as patch:
        for variable, folder in (
            ("HF_HOME", "huggingface"),
            ("MPLCONFIGDIR", "matplotlib"),
        ):  # these stay where they are
            patch.setenv(variable, os.environ.get(variable, str(user_cache / folder)))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
