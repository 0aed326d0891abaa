"""The command line: `tsbn`."""

import logging
from importlib import import_module
from typing import Annotated, Any

import typer

from ..version import __version__
from .errors import escape_what_cannot_be_encoded

# In the order of the help. Each is the function of this name, in the file of this name.
_COMMANDS = (
    "train", "config", "compare", "evaluate", "analyze", "predict", "export", "info", "card", "push",
)  # fmt: skip


class _App(typer.Typer):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        escape_what_cannot_be_encoded()  # before any command, for the help
        return super().__call__(*args, **kwargs)


app = _App(help="One network, many vision tasks.", no_args_is_help=True, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tsbn_hub {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: not record.name.startswith("huggingface_hub"))  # which prints by itself
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", handlers=[handler])


for _name in _COMMANDS:
    app.command()(getattr(import_module(f".{_name}", __package__), _name))
