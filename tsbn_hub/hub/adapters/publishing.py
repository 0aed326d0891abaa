"""Single tasks to the Hub."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ...files.repositories import is_repo
from ...models import CheckpointError, from_pretrained, surface_of
from ...models.surface import ImageShape, Surface
from ...models.task_parts import task_state_dict
from ...results.recording import recipe_of, results_of
from ...results.results import Results
from ..cards.card import stated_license
from ..cards.metadata import base_model
from ..sending import Publication, Target, publish
from .adapters import adapter_config, base_of, load_base_of, mismatches, surface_with_tasks
from .card import Beside, write_adapter_card
from .files import check_base, write_adapter


def push_task_to_hub(
    model: nn.Module,
    task: str,
    repo: str,
    *,
    base: str | None = None,
    results: Results | None = None,
    license: str | None = None,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    token: str | None = None,
    dry_run: bool = False,
    trust: bool = False,
) -> Publication:
    """Publish what belongs to one task as a repo of its own, with a card, in one commit.

    Args:
        model: As `save_task` takes it.
        task: One of its tasks.
        repo: "org/name". It is made where it is missing.
        base: The Hub repo that has the model's trunk, "org/name@revision"; None: the one that the model was loaded
            from. It is compared with the model, unless in a dry run, and its commit is noted.
        results: What was measured of the model; the task's part goes into the card. None: nothing.
        license: Of the weights, by the Hub's name; None: it is not stated.
        private: As `push_folder` takes it, and so are the others.
        revision: See there.
        create_pr: See there.
        commit_message: See there.
        token: See there.
        dry_run: See there.
        trust: Import the files and modules that the base names.

    Returns:
        What went, or would go.

    Raises:
        CheckpointError: if the base's trunk is another than the model's; it says what differs.
        HubError: if the Hub refuses, or cannot be reached. The repo is as it was.
        ValueError: if there is no such task, or `repo` or `base` is no repo's name, or it is not known which base it
            is, or a revision is given for a pull request.
    """
    surface = surface_with_tasks(model)
    target = Target(repo, private, revision, create_pr, token, dry_run)
    known, commit = base_of(surface, base)
    tensors, config = task_state_dict(surface, task), adapter_config(surface, task, known, commit)
    check_base(known)
    beside = Beside(results, license, _unprepared(surface))
    if not dry_run:
        base_model, placeholder = load_base_of(str(known), commit, config, [task], token, trust)
        on_hub = surface_of(base_model)
        if found := mismatches(config, on_hub):
            raise CheckpointError(f"The task {task!r} does not fit the model in {known}: {'; '.join(found)}.")
        config = replace(config, revision=base_of(on_hub)[1] or commit)
        beside = replace(beside, tasks_of_base=[each for each in on_hub.tasks if each != placeholder])
    with tempfile.TemporaryDirectory() as folder:
        write_adapter(folder, config, tensors)
        write_adapter_card(folder, repo, revision=target.branch, beside=beside)
        return publish(Path(folder), target, commit_message or f"Upload the task {task}", keep_edited_card=True)


def push_task_of_folder(
    folder: str | Path, task: str, repo: str, *, base: str | None = None, trust: bool = False, **options: Any
) -> Publication:
    """Publish a task of a run or checkpoint, with what is recorded there: its scores, licence, and base.

    Args:
        folder: Of a run of `tsbn train`, or of `save_pretrained`.
        task: One of its tasks.
        repo: "org/name".
        base: As `push_task_to_hub` takes it; None: also the one that the recipe names.
        trust: Import the files and modules that folder and base name, whoever has written them.
        **options: Further ones of `push_task_to_hub`.

    Raises:
        As `push_task_to_hub` does, and ValueError if the recorded results are of other weights.
    """
    folder = Path(folder)
    if base is None and (recipe := recipe_of(folder)):
        base = recipe.checkpoint if recipe.checkpoint and is_repo(recipe.checkpoint) else base_model(recipe)
    return push_task_to_hub(
        from_pretrained(folder, trust=trust),
        task,
        repo,
        base=base,
        results=results_of(folder),
        license=stated_license(folder),
        trust=trust,
        **options,
    )


def _unprepared(surface: Surface) -> ImageShape | None:
    """The shape of the images that a model takes, where it does not say how files of images become such."""
    try:
        surface.preprocessing()
    except ValueError:
        return surface.image_shape
    return None
