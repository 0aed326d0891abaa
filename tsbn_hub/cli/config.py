"""`tsbn config`."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import plain_errors
from .settings import with_settings

if TYPE_CHECKING:
    from ..training.recipe.keys import Key

_WIDTH = 80
_HOW_TO_SET = """\
In a file: `lr: 0.01`; for a command: `--set lr=0.01`, and inside of a mapping
`--set data_args.size=96`. What is None is written null, as in YAML."""


@plain_errors()
def config(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[KEY|FILE]", help="A key, to be explained; or a YAML file. Default: all keys.", show_default=False
        ),
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Of FILE: what to set in it, as in `tsbn train`. May be repeated."),
    ] = None,
) -> None:
    """Explain the keys of a config, or print the run that a file stands for, with all keys.

    What is printed of a file is a config, too: what is not the default stands first.

    Example: tsbn config examples/configs/multi_digits.yaml --set lr=0.01
    """
    from ..training import TrainingConfig
    from ..training.recipe.keys import config_keys, config_text

    keys = config_keys()
    if what is not None and _is_file(what):
        text = config_text(TrainingConfig.read(what, **with_settings({}, set or [])))
        typer.echo(f"# {what}, as tsbn train reads it.\n{text}", nl=False)
        return
    if set:
        raise ValueError("--set goes with a file: tsbn config FILE --set KEY=VALUE.")
    if what is not None:
        typer.echo(_explained(keys[_known(what, list(keys))]))
        return
    typer.echo("\n".join(map(_explained, keys.values())))
    typer.echo(f"\n{_HOW_TO_SET}")


def _is_file(what: str) -> bool:
    """Whether an argument means a file, be it there or not; keys have no suffix and lie in no folder."""
    return Path(what).is_file() or Path(what).suffix in (".yaml", ".yml") or len(Path(what).parts) > 1


def _known(name: str, keys: list[str]) -> str:
    """The key that a name is, or leads into: `data_args.size` is of `data_args`.

    Raises:
        ValueError: if there is none.
    """
    from ..files.registry import did_you_mean

    key = name.partition(".")[0]
    if key not in keys:
        near = did_you_mean(key, keys)
        raise ValueError(f"There is no key {name!r}, and no file.{near} `tsbn config` lists all keys.")
    return key


def _explained(key: "Key") -> str:
    """A key with its type and default, and what it means below."""
    default = "must be given" if key.default is None else f"default {key.default}"
    meaning = textwrap.fill(
        key.meaning, _WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
    )
    return f"{key.name} ({key.type}; {default})\n{meaning}"
