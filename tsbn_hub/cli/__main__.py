"""`python -m tsbn_hub.cli`, for launchers of several processes."""

from .main import app

if __name__ == "__main__":
    app(prog_name="tsbn")
