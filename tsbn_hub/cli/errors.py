"""What a user is told when a command fails."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer


def escape_what_cannot_be_encoded() -> None:
    """Let this process print any text: what the encoding of its output lacks, as on Windows, becomes an escape."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def plain_errors() -> Iterator[None]:
    """What a user can mend is told in a line; a defect of ours keeps its traceback. Decorates a command's function."""
    escape_what_cannot_be_encoded()
    try:
        yield
    except (OSError, ImportError, ValueError) as error:
        typer.echo(f"tsbn: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as stopped:  # that of training tells what is saved, and by which signal it was stopped
        typer.echo(f"tsbn: {str(stopped) or 'stopped by Ctrl-C'}", err=True)
        raise typer.Exit(getattr(stopped, "exit_status", 128 + signal.SIGINT)) from stopped
