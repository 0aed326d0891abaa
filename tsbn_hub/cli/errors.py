"""What a user is told when a command fails."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def plain_errors() -> Iterator[None]:
    """What a user can mend is told in a line; a defect of ours keeps its traceback. Decorates a command's function."""
    try:
        yield
    except (OSError, ImportError, ValueError) as error:
        typer.echo(f"tsbn: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as stopped:  # that of training tells what is saved, and by which signal it was stopped
        typer.echo(f"tsbn: {str(stopped) or 'stopped by Ctrl-C'}", err=True)
        raise typer.Exit(getattr(stopped, "exit_status", 128 + signal.SIGINT)) from stopped
