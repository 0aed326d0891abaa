"""What a column may be, where nothing is said of it."""

from pathlib import Path

from ....files.paths import is_file
from ...notes import ColumnNote
from .columns import Said, some_maps, target_as_said
from .maps import guess_kind
from .rows import Column, Files, Rows
from .targets import Target, pictures_of
from .values import are_dates, decimal_mark, numbers_of, yes_and_no

_TRIED = 40  # names of files
_FEW = 20  # whole numbers that are classes
_EXAMPLES = 4


def find_image_column(rows: Rows, images: Path | None, file: str | None) -> str:
    """The column with the images: the one whose cells name most files that are there, or that holds pictures.

    Args:
        rows: The training table.
        images: Where names lead from; None: the table's folder.
        file: The column, where it is said.

    Raises:
        ValueError: if there is no such column.
    """
    if file is not None:
        if file not in rows.names:
            raise ValueError(f"file={file!r}: {rows.called} has no such column. It has {', '.join(rows.names)}.")
        return file
    if rows.pictures:
        return next(iter(rows.pictures))
    found = {name: share_of_files(column, images or rows.folder) for name, column in rows.columns.items()}
    best = max(found, key=lambda name: found[name])
    if found[best] > 0:
        return best
    tried = Files(rows.columns[best], images or rows.folder)
    texts = [column.values[0] for column in rows.columns.values() if column.values]
    example = next((text for text in texts if "." in text or "/" in text or "\\" in text), texts[0] if texts else "")
    url = " Files of the web are not fetched." if "://" in example else ""
    raise ValueError(
        f"{rows.called} has no column whose cells name files in {tried.folder}: there is no {tried.path_of(example)}. "
        f"Say where they are by images, or which column names them by file ({', '.join(rows.names)}).{url}"
    )


def share_of_files(column: Column, folder: Path) -> float:
    """The share of some cells that name files that are there, in [0, 1]."""
    files = Files(column, folder)
    tried = column.spread(_TRIED)
    return sum(is_file(files.path_of(value)) for value in tried) / len(tried) if tried else 0.0


def guess(name: str, rows: Rows, images: Path | None) -> tuple[Said | None, str]:
    """What a column is, in the form that a user would say it; None: no task, and why.

    Args:
        name: Of the column.
        rows: The training table.
        images: Where names of files lead from; None: the table's folder.
    """
    if name in rows.pictures or share_of_files(rows.columns[name], images or rows.folder) > 0.5:
        return _guess_maps(name, rows, images)
    column, declared = rows.columns[name], rows.labels.get(name)
    values, labelled = column.values, int(column.counts().sum())
    if declared:
        return "classification", ""
    if len(values) < 2:
        return None, f"all cells are {values[0]!r}" if values else "all cells are empty"
    if yes_and_no(values) is not None:
        return "attributes", ""
    if are_dates(values):
        return None, "dates"
    mark = decimal_mark(values) or rows.decimal
    numbers = numbers_of(values, mark) if mark or not any("," in value for value in values) else None
    known = sorted(number for number in numbers or [] if number is not None)
    if numbers is not None and len(known) > 1:
        return _guess_numbers(values, known, labelled)
    if 2 * len(values) > labelled:
        are_numbers = sum(numbers_of([value], mark or ".") is not None for value in values)
        if 2 * are_numbers > len(values):
            odd = next((value for value in values if numbers_of([value], mark or ".") is None), values[0])
            return None, f"numbers, but for {odd[:30]!r} and the like"
        return None, f"{len(values):,} texts in {labelled:,} rows"
    return "classification", ""


def _guess_numbers(values: list[str], known: list[float], labelled: int) -> tuple[Said | None, str]:
    whole = all(number.is_integer() for number in known)
    if whole and any(value.lstrip("+-").startswith("0") and len(value.lstrip("+-")) > 1 for value in values):
        return (None, "codes") if 2 * len(values) > labelled else ("classification", "")
    if whole and len(values) == labelled and known == [known[0] + step for step in range(len(known))]:
        return None, "the rows' numbers"
    if whole and len(known) <= _FEW and 2 * len(known) <= labelled:
        return "classification", ""
    return "regression", ""


def _guess_maps(name: str, rows: Rows, images: Path | None) -> tuple[Said | None, str]:
    maps = some_maps(pictures_of(rows, name, images), len(rows))
    if not maps:
        return None, "files that cannot be read"
    kind, why = guess_kind(name, maps)
    return (None, f"{why}: say what they are") if kind is None else ({"kind": kind}, why)


def plan_columns(
    rows: Rows, image: str, columns: dict[str, Said | None], group: str | None, images: Path | None
) -> tuple[list[Target], list[ColumnNote]]:
    """The tasks of a table, said or guessed, and what became of each column.

    Args:
        rows: The training table.
        image: The column with the images.
        columns: What is said, by column; None: it is no task.
        group: The column by which rows belong together: no task unless it is said to be one.
        images: Where names of files lead from; None: the table's folder.

    Raises:
        ValueError: if what is said cannot be, or there is no task.
    """
    targets, notes = [], [ColumnNote(image, "image", "", _examples(rows, image))]
    for name in rows.names:
        if name == image:
            continue
        why = ""
        if name in columns:
            said, why = columns[name], "as said"
        elif name == group:
            said, why = None, "groups rows"
        else:
            said, why = guess(name, rows, images)
        if said is None:
            notes.append(ColumnNote(name, "left out", why, _examples(rows, name)))
            continue
        target = target_as_said(name, said, rows, images)
        targets.append(target)
        told = "; ".join(filter(None, [_told(target, rows), why, _missing(name, rows)]))
        notes.append(ColumnNote(name, target.task.kind, told, _examples(rows, name)))
    if not targets:
        left_out = "; ".join(f"{note.column}: {note.told}" for note in notes[1:]) or "there is no further column"
        raise ValueError(
            f"{rows.called} has no task ({left_out}). Say what a column is, as in columns: {{{rows.names[-1]}: "
            "classification}."
        )
    return targets, notes


def _told(target: Target, rows: Rows) -> str:
    labels, number = target.task.labels, target.task.num_classes
    if target.task.kind == "attributes":
        return ""
    if labels is not None:
        return f"{len(labels)} classes: {', '.join(labels[:6])}{', …' * (len(labels) > 6)}"
    if number is not None:
        return f"{number} classes"
    if target.task.kind == "regression":
        column = rows.columns[target.column]
        mark = decimal_mark(column.values) or rows.decimal or "."
        numbers = [number for number in numbers_of(column.values, mark) or [] if number is not None]
        return f"from {min(numbers):g} to {max(numbers):g}" if numbers else ""
    return ""


def _missing(name: str, rows: Rows) -> str:
    if name not in rows.columns:
        return ""
    share = float((rows.columns[name].codes < 0).mean())
    return f"{share:.0%} empty" if share else ""


def _examples(rows: Rows, name: str) -> tuple[str, ...]:
    return tuple(rows.columns[name].values[:_EXAMPLES]) if name in rows.columns else ("pictures",)
