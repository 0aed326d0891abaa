"""The page of a report, which a browser shows."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from urllib.parse import quote

from ...tasks import Kind
from ...training.evaluation import Scores
from .section import Rows, Section

_STYLE = """
body { font-family: system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
img { max-width: 100%; } table { border-collapse: collapse; } td, th { padding: 0.2rem 0.7rem; text-align: left; }
tr { border-bottom: 1px solid #ddd; } div { overflow-x: auto; }
"""


def page(
    title: str, about: str, kinds: Mapping[str, Kind], scores: Scores, sections: Mapping[str, list[Section]]
) -> str:
    """A report as HTML.

    Args:
        title: Of the page.
        about: What the report is of, in a sentence.
        kinds: The kind of each task.
        scores: By task, its metrics.
        sections: By task, the parts.
    """
    metrics: list[list[object]] = [["task", "kind", "metric", "value"]]
    for task, values in scores.items():
        for metric, value in values.items():
            arrow = "↑" if kinds[task].metrics[metric] else "↓"
            shown = "—" if math.isnan(value) else f"{value:.2%}" if kinds[task].is_share(metric) else f"{value:.4g}"
            metrics.append([task, kinds[task].name, f"{metric} {arrow}", shown])
    parts = [f"<h1>{escape(title)}</h1>", f"<p>{escape(about)}</p>", _table(metrics)]
    for task, own in sections.items():
        parts.append(f"<h2>{escape(task)}</h2>")
        parts += [html for section in own for html in _section(section)] or ["<p>No sample has a target.</p>"]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _section(section: Section) -> Iterable[str]:
    links = ", ".join(f'<a href="{quote(name)}">{escape(name)}</a>' for name in section.tables)
    yield f"<h3>{escape(section.title)}</h3>"
    if section.picture is not None:
        yield f'<p><img src="{quote(section.picture)}" alt="{escape(section.title)}"></p>'
    if section.shown:
        yield _table(section.shown)
    if links:
        yield f"<p>{links}</p>"


def _table(rows: Rows) -> str:
    def row(cells: Sequence[object], tag: str) -> str:
        texts = ("" if isinstance(cell, float) and math.isnan(cell) else str(cell) for cell in cells)
        return "<tr>" + "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts) + "</tr>"

    first, *others = rows
    return "<div><table>" + row(first, "th") + "".join(row(cells, "td") for cells in others) + "</table></div>"
