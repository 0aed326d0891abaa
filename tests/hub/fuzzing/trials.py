"""A trial: a mutated checkpoint is loaded, and what came of it is held against what may come of it."""

import contextlib
import os
import shutil
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from tsbn_hub import CheckpointError

from .edits import OUTSIDE, Case
from .seeds import PICKLE, Seed
from .validators import Validator, chain, hit_by, validators
from .watch import ForbiddenCalls, OpenedFiles, TooLong, limited

SECONDS, MEMORY = 20.0, 2**30
"""What a trial may take: of the processor's time, and of memory in bytes."""

_OUR_SOURCE = str(Path(__file__).parents[3] / "tsbn_hub")
_NO_MEMORY = ("can't allocate memory", "not enough memory", "Unable to allocate", "Cannot allocate memory")
# What these refuse could not be read at all: every other refusal has the JSON, or the header, to speak of.
_UNREADABLE = ("is no JSON", "holds no object", "is truncated, or no safetensors file")


class Finding(AssertionError):
    """Something came of a mutated checkpoint that must not."""


@dataclass
class Tally:
    """What came of all trials.

    Attributes:
        loaded: How many gave a model.
        refused: How many were refused.
        parsed: How many were past the parsing of JSON and headers.
        validators: How often each of ours was hit.
        slowest: The trial that took longest: its time in seconds, and what it was.
        by_seed: How many trials each checkpoint had.
    """

    loaded: int = 0
    refused: int = 0
    parsed: int = 0
    validators: Counter[Validator] = field(default_factory=Counter)
    slowest: tuple[float, Case | None] = (0.0, None)
    by_seed: Counter[str] = field(default_factory=Counter)

    @property
    def trials(self) -> int:
        """How many there were."""
        return self.loaded + self.refused


class Trials:
    """A place to load mutated checkpoints in. To be used as a context.

    Args:
        seeds: The valid checkpoints.

    Attributes:
        tally: What came of all trials.
    """

    def __init__(self, seeds: dict[str, Seed]) -> None:
        self.seeds, self.tally = seeds, Tally()
        self.known = validators()
        self._root = Path(tempfile.mkdtemp())
        self._pickle, self._outside, self._case = (self._root / name for name in (PICKLE, "outside", "case"))
        self._outside.mkdir()
        for name, content in seeds["timm resnet"].files.items():
            (self._outside / name).write_bytes(content)
        self._pickle.write_bytes(seeds["timm resnet"].files[PICKLE])
        self._settings = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()
        self._calls, self._opened = ForbiddenCalls(), OpenedFiles([self._outside, self._pickle])

    def __enter__(self) -> "Trials":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._opened.close()
        shutil.rmtree(self._root)

    def run(self, case: Case) -> BaseException | None:
        """Load a checkpoint.

        Returns:
            The error that refused it; None: there is a model.

        Raises:
            Finding: if what came of it must not.
        """
        seed = self.seeds[case.seed]
        self._write(case)
        started, error = time.process_time(), None
        with self._calls.watched() as calls:
            try:
                with limited(SECONDS, MEMORY):
                    _try_out(seed.load(self._case))
            except (Exception, TooLong) as raised:  # noqa: BLE001 — that is what this is for
                error = raised
        self.tally.slowest = max(self.tally.slowest, (time.process_time() - started, case), key=lambda each: each[0])
        self.tally.by_seed[case.seed] += 1
        what = self._wrong(error, calls)
        if what:
            raise Finding(what) from error
        self._count(error)
        return error

    def _write(self, case: Case) -> None:
        files = dict(self.seeds[case.seed].files)
        for edit in case.edits:
            if edit.file in files:  # an earlier edit may have removed it
                edit(files)
        shutil.rmtree(self._case, ignore_errors=True)
        for name, content in files.items():
            path = self._case / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.name == PICKLE:
                os.link(self._pickle, path)
            else:
                path.write_bytes(content.replace(OUTSIDE.encode(), str(self._outside).encode()))

    def _wrong(self, error: BaseException | None, calls: list[str]) -> str | None:
        if calls:
            return f"Loading called {calls}."
        if self._opened.any():
            return "Loading opened a pickle, or a file outside of the folder."
        if (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()) != self._settings:
            return "Loading left gradients, the default dtype or the default device changed."
        if error is None:
            return None
        if isinstance(error, TooLong):
            return f"Loading took more than {SECONDS} s."
        for each in chain(error):
            if isinstance(each, MemoryError) or any(text in str(each) for text in _NO_MEMORY):
                return f"Loading took more than {MEMORY} bytes of memory."
            if isinstance(each, OfflineModeIsEnabled | LocalEntryNotFoundError | HfHubHTTPError):
                return "Loading asked the Hub."
        if not isinstance(error, CheckpointError | FileNotFoundError) or not _is_ours(error):
            return f"Loading raised {type(error).__name__}: {error}"
        return None

    def _count(self, error: BaseException | None) -> None:
        tally = self.tally
        if error is None:
            tally.loaded, tally.parsed = tally.loaded + 1, tally.parsed + 1
            return
        tally.refused += 1
        tally.parsed += not any(text in str(error) for text in _UNREADABLE)
        tally.validators.update(hit_by(error, self.known))


def _try_out(model: Any) -> None:
    """A forward. It may fail, as that of any network may, but not take the process with it."""
    with contextlib.suppress(Exception), torch.no_grad():
        model.eval()(torch.zeros(1, 3, 32, 32))


def _is_ours(error: BaseException) -> bool:
    return traceback.extract_tb(error.__traceback__)[-1].filename.startswith(_OUR_SOURCE)
