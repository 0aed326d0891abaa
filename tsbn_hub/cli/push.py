"""`tsbn push`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import plain_errors
from .options import Imports, Trust

if TYPE_CHECKING:
    from ..hub import Publication


@plain_errors()
def push(
    folder: Annotated[Path, typer.Argument(help="A folder of a checkpoint: a run, save_pretrained's, save_task's.")],
    repo: Annotated[str, typer.Argument(help="org/name; with --all an organisation or user.")],
    all: Annotated[bool, typer.Option("--all", help="Push each checkpoint in the folder, under its own name.")] = False,
    task: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Push this task alone: gates, statistics and head, as an adapter."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="REPO", help="With --task: the repo (org/name@revision) of the network that it is for."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a private repo.")] = False,
    revision: Annotated[str | None, typer.Option(help="The branch, made where it is missing.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request.")] = False,
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and send nothing.")] = False,
    imports: Imports = None,
    trust: Trust = False,
) -> None:
    """Publish a checkpoint on the Hub, in one commit. Log in with `hf auth login` first, or set HF_TOKEN.

    With --all, every checkpoint in a folder: tsbn push --all model_cards ada

    Example: tsbn push runs/multi_digits ada/multi-digits --dry-run
    """
    from accelerate import Accelerator

    from ..hub import checkpoints_in, push_folder
    from ..hub.adapters.publishing import push_task_of_folder
    from ..training.report import console_of

    options: dict[str, Any] = {
        "private": private, "revision": revision, "create_pr": create_pr, "commit_message": message, "dry_run": dry_run,
        "trust": trust,
    }  # fmt: skip
    if all and task is not None:
        raise ValueError("--all pushes whole checkpoints: leave out --task.")
    if base is not None and task is None:
        raise ValueError(f"--base {base} is what an adapter is for: give --task, too.")
    console = console_of(Accelerator())
    targets = [(path, f"{repo}/{path.name}") for path in checkpoints_in(folder)] if all else [(folder, repo)]
    for path, name in targets if all else ():
        push_folder(path, name, **{**options, "dry_run": True})  # what is wrong is found before anything is sent
    for path, name in targets:
        if task is not None:
            pushed = push_task_of_folder(path, task, name, base=base, **options)
        else:
            pushed = push_folder(path, name, **options)
        what = f"{path}" if task is None else f"The task {task} of {path}"
        lines = _publication_lines(what, pushed, private, revision, create_pr)
        console.print(lines, markup=False, highlight=False, soft_wrap=True)


def _publication_lines(what: str, pushed: "Publication", private: bool, revision: str | None, create_pr: bool) -> str:
    sizes = "\n".join(f"  {size:>13,}  {name}" for name, size in pushed.files.items())
    if pushed.url is None:
        visible, branch = "private, " if private else "", f"branch {revision}, " if revision else ""
        way = "by a pull request, " if create_pr else ""
        return f"{what} would go to {pushed.repo}: {visible}{branch}{way}nothing was sent. Bytes:\n{sizes}"
    if not pushed.files:
        return f"{pushed.repo} has all of {what} already: nothing was sent."
    removed = "".join(f"\n        removed  {name}" for name in pushed.removed)
    kept = "\n           kept  README.md, which somebody has edited" if pushed.keeps_card else ""
    return f"{what} is at {pushed.url}. Bytes:\n{sizes}{removed}{kept}"
