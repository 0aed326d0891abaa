"""Comparing methods: grids of runs, and tables with intervals of what they measure and cost."""

from ..results.intervals import Interval, interval_of
from .compare import Budget, compare
from .existing import compare_runs
from .formats import write_tables
from .grid import Grid, Variant
from .picture import draw_comparison
from .setting import draw_setting, gains_by_setting, setting_table
from .stored import read_comparison
from .table import Comparison, Measure, Row

__all__ = [
    "Budget",
    "Comparison",
    "Grid",
    "Interval",
    "Measure",
    "Row",
    "Variant",
    "compare",
    "compare_runs",
    "draw_comparison",
    "draw_setting",
    "gains_by_setting",
    "interval_of",
    "read_comparison",
    "setting_table",
    "write_tables",
]
