"""A run on the disk: its last state, its log and its config."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import nn

from ...files.atomic import remove_leftovers, write_atomically
from ...files.checkpoints import weights_digest
from ...files.locking import FolderInUseError, writing_alone
from ...files.names import BROKEN, GATE_LOG, LOG, RECIPE, STATE
from ...files.permission import leave_mark
from ...models.saving import MODEL_FILES
from ..recipe.config import TrainingConfig
from .description import Description, differences
from .gates import gates_line, gates_text, read_gates
from .record import Record
from .run_state import State, random_state, read_entry, read_state, set_random_state, write_state

_VERSION = 2


def description_of_state(folder: str | Path) -> Description:
    """What the state in a folder says of the run's data and model; nothing, where there is none."""
    description = read_entry(Path(folder, STATE), "data")
    return description if isinstance(description, dict) else {}


class RunFolder:
    """The folder of a run. All processes call each method together; the main one writes.

    Args:
        config: The run.
        description: Of its data and model.
        accelerator: Of this process.

    Attributes:
        path: Where it is.
    """

    def __init__(self, config: TrainingConfig, description: Description, accelerator: Accelerator) -> None:
        self.path = Path(config.output)
        self._config, self._description, self._accelerator = config, description, accelerator

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within the block, no other run is at work in the folder, which is made.

        Raises:
            FolderInUseError: if another one is, on every process.
        """
        refusal: FolderInUseError | None = None
        with ExitStack() as stack:
            if self._accelerator.is_main_process:
                self.path.mkdir(parents=True, exist_ok=True)
                try:
                    stack.enter_context(writing_alone(self.path))
                except FolderInUseError as error:
                    refusal = error
            (refused,) = broadcast_object_list([refusal and str(refusal)])
            if refused:
                raise FolderInUseError(refused) from refusal
            yield

    def open(self, restart: bool) -> bool:
        """Make the folder, remove what a kill has left half-written, and see whether there is a state to go on from.

        Args:
            restart: Remove the state, and the model, if there are any.

        Raises:
            ValueError: if not all processes see the same.
        """
        if self._accelerator.is_main_process:
            self.path.mkdir(parents=True, exist_ok=True)
            for name in (STATE, LOG, GATE_LOG, RECIPE, *MODEL_FILES):
                remove_leftovers(self.path / name)
            for name in (STATE, *MODEL_FILES) if restart else ():
                (self.path / name).unlink(missing_ok=True)
        self._accelerator.wait_for_everyone()
        state, processes = self.path / STATE, self._accelerator.num_processes
        found = self._accelerator.reduce(torch.tensor(float(state.is_file()), device=self._accelerator.device))
        if 0 < found < processes:
            raise ValueError(f"{state} is there for {int(found)} of {processes} processes alone.")
        return bool(found)

    def start(self) -> None:
        """Write the config, and a log without lines."""
        if self._accelerator.is_main_process:
            text = yaml.safe_dump(asdict(self._config), sort_keys=False)
            write_atomically({self.path / RECIPE: lambda path: path.write_text(text, encoding="utf-8")})
            leave_mark(self.path, self._config.own_code())
        self.write_log(Record())

    def load(self) -> tuple[State, Record]:
        """What `save` was last given. The random generators of this process are as they were then, too.

        Raises:
            ValueError: if it is of another run, or damaged.
        """
        state, processes = read_state(self.path / STATE), self._accelerator.num_processes
        if state.get("version") != _VERSION:
            raise ValueError(f"{self.path / STATE} was written by another version of tsbn_hub. Restart to train anew.")
        found = self._config.differences(state["config"]) + differences(state["data"], self._description)
        if state["processes"] != processes:
            found.append(f"processes: {state['processes']}, here {processes}")
        if found:
            raise ValueError(f"{self.path} holds another run ({'; '.join(found)}). Choose another output, or restart.")
        if self._accelerator.is_main_process:
            leave_mark(self.path, self._config.own_code())
        set_random_state(state["random"][self._accelerator.process_index], self._accelerator.device)
        return state, Record(**state["record"])

    def save(self, learned: State, record: Record) -> None:
        """Write the state of the run, whole or not at all.

        Args:
            learned: What the steps have moved: the `Learner`'s.
            record: How far the run is.

        Raises:
            OSError: if it cannot be written.
        """
        # Gathered by pickle in memory, among our own processes; the file has none.
        random_states = gather_object([random_state(self._accelerator.device)])
        if self._accelerator.is_main_process:
            state = {
                "version": _VERSION,
                "config": asdict(self._config),
                "data": self._description,
                "processes": self._accelerator.num_processes,
                **learned,
                "record": asdict(record),
                "random": random_states,
            }
            write_state(self.path / STATE, state)

    def write_log(self, record: Record) -> None:
        """Write all lines of the log."""
        text = "".join(json.dumps(line) + "\n" for line in record.log)
        if self._accelerator.is_main_process:
            write_atomically({self.path / LOG: lambda path: path.write_text(text, encoding="utf-8")})

    def write_gates(self, model: nn.Module, epoch: int) -> None:
        """Write what the gates are at the end of an epoch, below the lines of those before; no file without gates.

        Lines of this epoch and later ones are of a run that was killed after them, or of an earlier run: they go.

        Args:
            model: The model.
            epoch: From 1; 0 before the first step.

        Raises:
            ValueError: if the file is there and broken.
        """
        if not self._accelerator.is_main_process:
            return
        line = gates_line(model, epoch)
        if line is None:
            (self.path / GATE_LOG).unlink(missing_ok=True)
            return
        earlier = [each for each in read_gates(self.path) if each["epoch"] < epoch] if epoch else []
        text = gates_text([*earlier, line])
        write_atomically({self.path / GATE_LOG: lambda path: path.write_text(text, encoding="utf-8")})

    def write_broken_files(self, broken: Mapping[str, str]) -> None:
        """Write which files of the data are missing or broken, and why; no file where none is.

        Args:
            broken: By path, the reason.
        """
        if not self._accelerator.is_main_process:
            return
        if not broken:
            (self.path / BROKEN).unlink(missing_ok=True)
            return
        lines = io.StringIO(newline="")
        csv.writer(lines, lineterminator="\n").writerows([("file", "reason"), *broken.items()])
        text = lines.getvalue()
        write_atomically({self.path / BROKEN: lambda path: path.write_text(text, "utf-8", "backslashreplace")})

    def weights_digest(self) -> str:
        """The SHA-256 of the weights in the folder, as the main process reads it."""
        (digest,) = broadcast_object_list([weights_digest(self.path) if self._accelerator.is_main_process else None])
        return str(digest)

    def check_weights(self, record: Record) -> None:
        """Refuse weights in the folder that are not those that the run has kept.

        Raises:
            ValueError: if they are others.
        """
        if record.weights != self.weights_digest():
            raise ValueError(
                f"The weights in {self.path} are not those that this run has kept as its best: something else has "
                "written them, or they are damaged. They are not tested. Restart to train anew."
            )
