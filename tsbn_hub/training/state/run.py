"""A run on the disk: its last state, its log and its config."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import gather_object

from ...files.atomic import remove_leftovers, write_atomically
from ...files.names import LOG, RECIPE, STATE
from ...files.permission import leave_mark
from ...models.saving import MODEL_FILES
from ..recipe.config import TrainingConfig
from .record import Record
from .run_state import State, random_state, read_state, set_random_state, write_state

_VERSION = 1


class RunFolder:
    """The folder of a run. All processes call each method together; the main one writes.

    Args:
        config: The run.
        accelerator: Of this process.

    Attributes:
        path: Where it is.
    """

    def __init__(self, config: TrainingConfig, accelerator: Accelerator) -> None:
        self.path = Path(config.output)
        self._config, self._accelerator = config, accelerator

    def open(self, restart: bool) -> bool:
        """Make the folder, remove what a kill has left half-written, and see whether there is a state to go on from.

        Args:
            restart: Remove the state, and the model, if there are any.

        Raises:
            ValueError: if not all processes see the same.
        """
        if self._accelerator.is_main_process:
            self.path.mkdir(parents=True, exist_ok=True)
            for name in (STATE, LOG, RECIPE, *MODEL_FILES):
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
            write_atomically({self.path / RECIPE: lambda path: path.write_text(text)})
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
        differences = self._config.differences(state["config"])
        if state["processes"] != processes:
            differences.append(f"processes: {state['processes']}, here {processes}")
        if differences:
            raise ValueError(
                f"{self.path} holds another run ({'; '.join(differences)}). Choose another output, or restart."
            )
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
            write_atomically({self.path / LOG: lambda path: path.write_text(text)})
