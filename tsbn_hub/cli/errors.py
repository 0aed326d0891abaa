"""What a user is told when a command fails."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

_ENDED_WORKER = "DataLoader worker (pid"
_ABOUT_ENDED_WORKERS = (
    "A process that loads data was ended from outside, as happens where memory runs out: try fewer workers. What the "
    "run has saved is kept."
)


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
    except BrokenPipeError:  # who reads has seen enough, as in `tsbn config | head`: click ends in silence
        raise
    except (OSError, ImportError, ValueError) as error:
        typer.echo(f"tsbn: {_told(error)}", err=True)
        raise typer.Exit(1) from error
    except RuntimeError as error:  # torch has no other class for a worker process that was ended from outside
        if not str(error).startswith(_ENDED_WORKER):
            raise
        typer.echo(f"tsbn: {str(error).rstrip('. ')}. {_ABOUT_ENDED_WORKERS}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as stopped:  # that of training tells what is saved, and by which signal it was stopped
        typer.echo(f"tsbn: {str(stopped) or 'stopped by Ctrl-C'}", err=True)
        raise typer.Exit(getattr(stopped, "exit_status", 128 + signal.SIGINT)) from stopped


def _told(error: Exception) -> str:
    """The message and the notes of an error; of one in a worker process without the traceback there."""
    told = "\n".join([str(error), *getattr(error, "__notes__", ())])
    first, *lines = told.splitlines() or [""]
    if "in DataLoader worker process" not in first:
        return told
    frames = [at for at, line in enumerate(lines) if line.startswith("  ")]
    of_class, _, message = "\n".join(lines[max(frames, default=0) + 1 :]).partition(": ")
    return message or of_class
