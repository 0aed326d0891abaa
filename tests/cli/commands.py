"""Commands, run in this process, and what they leave."""

from accelerate.state import AcceleratorState
from typer.testing import CliRunner

from tsbn_hub.cli.main import app


def tsbn(*arguments, columns=100, env=()):
    AcceleratorState._reset_state(reset_partial_state=True)
    env = {"COLUMNS": str(columns), **dict(env)}
    return CliRunner().invoke(app, list(map(str, arguments)), prog_name="tsbn", env=env)


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
