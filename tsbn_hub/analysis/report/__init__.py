"""Where a run's model is right and where it is wrong, as tables, pictures and a page."""

from .run import report_run

__all__ = ["report_run"]
