"""Model cards: a README.md that says of a checkpoint what is known, and where nothing is known says that."""

import re
from pathlib import Path

import yaml
from huggingface_hub import metadata_load
from huggingface_hub.utils import HFValidationError, validate_repo_id
from torch import nn

from ...analysis import model_cost
from ...files.atomic import write_atomically
from ...files.checkpoints import weights_digest
from ...files.images import weights_of_picture
from ...files.names import CARD, GATES, RESULTS, SAMPLES
from ...models import from_pretrained, surface_of
from ...models.surface import Surface
from ...norms.execution.modes import modes_kept
from ...results.recording import recipe_of, results_of
from ...results.results import Results
from .mark import is_edited, marked
from .metadata import card_metadata
from .text import Subject, card_text


def write_card(
    folder: str | Path,
    model: nn.Module | None = None,
    name: str | None = None,
    license: str | None = None,
    *,
    revision: str | None = None,
    overwrite: bool = False,
    trust: bool = False,
) -> None:
    """Write the README.md of a folder of `save_pretrained`, from what the folder holds.

    It may hold `results.json` (what was measured), `training.yaml` (the recipe), `gates.png`, and `predictions.png`
    of the same weights. Where it lacks them the card says so, or does without. The same folder gives the same card,
    byte for byte.

    Args:
        folder: The folder.
        model: The model in it, if it is loaded already.
        name: The card's title, and the repo in its code: "org/name". None: the folder's name, and code that loads it
            from there.
        license: Of the weights, by the Hub's name of it, such as "apache-2.0". None: what the card that is there
            states, if it states one.
        revision: The branch of the repo that the code loads from; None: the main one.
        overwrite: Replace a card that somebody has edited, or that is not from here.
        trust: Import the files and modules that the folder names, whoever has written them. Those of your own runs are
            imported anyway.

    Raises:
        FileExistsError: if there is such a card.
        FileNotFoundError: if the folder has no model.
        ValueError: if results, recipe or the card that is there cannot be read, the results are of other weights or
            tasks, or name or licence are not as the Hub has them.
        OSError: if the card cannot be written.

    Example:
        >>> import tempfile, timm, tsbn_hub
        >>> from pathlib import Path
        >>> from tsbn_hub.hub import write_card
        >>> model = timm.create_model("test_resnet_tsbn", num_classes={"gender": 2, "age": 8})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tsbn_hub.save_pretrained(model, folder)
        ...     write_card(folder, model, name="ada/faces", license="apache-2.0")
        ...     card = Path(folder, "README.md").read_text()
        >>> "| gender | classification | 2 | not measured | |" in card
        True
    """
    folder = Path(folder)
    if name is not None:
        _check_repo(name)
    if is_edited(folder / CARD) and not overwrite:
        raise FileExistsError(
            f"{folder / CARD} was edited, or is not from here, and is kept: move it away, or say overwrite."
        )
    if license is None:
        license = stated_license(folder)
    elif not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", license):
        raise ValueError(f"license={license!r} is no licence's name on the Hub, such as apache-2.0, mit, cc-by-4.0.")
    if model is None:
        model = from_pretrained(folder, trust=trust)
    surface, results = surface_of(model), results_of(folder)
    model = surface.model
    if results is not None:
        _check_tasks(folder, surface, results)
    with modes_kept(model):
        cost = model_cost(model) if surface.has_heads else None
    subject = Subject(
        name=name or folder.resolve().name,
        revision=revision,
        surface=surface,
        kinds=surface.kinds() if surface.has_heads else {},
        cost=cost,
        results=results,
        recipe=recipe_of(folder),
        license=license,
        has_picture=(folder / GATES).is_file(),
        shows_samples=shows_samples(folder),
    )
    kind_names = {task.name: task.kind for task in cost.tasks} if cost else {}
    metadata = card_metadata(surface, subject.name, kind_names, results, subject.recipe, license)
    text = marked(f"---\n{metadata}\n---\n\n{card_text(subject)}")
    write_atomically({folder / CARD: lambda path: path.write_text(text, encoding="utf-8")})


def shows_samples(folder: Path) -> bool:
    """Whether there is a picture of what the very weights in a folder predict for test data."""
    noted = weights_of_picture(folder / SAMPLES)
    return noted is not None and noted == weights_digest(folder)


def _check_repo(name: str) -> None:
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ValueError(f"name={name!r} is no repo of the Hub: {error}") from error
    if "/" not in name:
        raise ValueError(f"name={name!r} is no repo of the Hub: it is written org/name.")


def stated_license(folder: Path) -> str | None:
    """The licence that the card in a folder states, by the Hub's name; None: there is none.

    Raises:
        ValueError: if the card's metadata cannot be read.
    """
    card = folder / CARD
    if not card.is_file():
        return None
    try:
        license = (metadata_load(card) or {}).get("license")
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{card}, whose licence would be kept, has metadata that cannot be read: {error}") from error
    return license if isinstance(license, str) else None


def _check_tasks(folder: Path, surface: Surface, results: Results) -> None:
    known = surface.tasks
    unknown = [task.name for task in results.tasks if task.name not in known]
    if unknown:
        raise ValueError(f"{folder / RESULTS} has the tasks {unknown}, which the model lacks. It has {known}.")
