"""What the texts of a column are: numbers, yes and no, dates."""

import re
from collections.abc import Iterable, Sequence

_YES_AND_NO = (("yes", "no"), ("y", "n"), ("true", "false"), ("t", "f"), ("on", "off"))
_DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}|\d{1,2}[/.]\d{1,2}[/.]\d{2})([T ].*)?"
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NO_NUMBER = frozenset({"na", "none", "-", "--", "?"})  # in a column of numbers
_GROUPED = re.compile(r"[+-]?\d{1,3}([.,' ]\d{3})+([.,]\d+)?")


def yes_and_no(values: Iterable[str]) -> tuple[set[str], set[str]] | None:
    """The values that mean yes, and those that mean no, in lower case; None: the values are not of that sort.

    Example:
        >>> from tsbn_hub.data.sets.table.values import yes_and_no
        >>> yes_and_no(["Yes", "no"]), yes_and_no(["1", "0.0"]), yes_and_no(["yes", "perhaps"])
        (({'yes'}, {'no'}), ({'1'}, {'0.0'}), None)
    """
    given = {value.casefold() for value in values}
    for yes, no in _YES_AND_NO:
        if given <= {yes, no}:
            return given & {yes}, given & {no}
    numbers = numbers_of(sorted(given))
    if numbers is None:
        return None
    found = {value: number for value, number in zip(sorted(given), numbers, strict=True) if number is not None}
    if len(found) == len(given) and (set(found.values()) <= {0, 1} or set(found.values()) <= {-1, 1}):
        return {value for value in found if found[value] == 1}, {value for value in found if found[value] != 1}
    return None


def are_dates(values: Sequence[str]) -> bool:
    """Whether all values are days, with or without a time.

    Example:
        >>> from tsbn_hub.data.sets.table.values import are_dates
        >>> are_dates(["2024-02-29", "2024-03-01 12:00"]), are_dates(["1.5"])
        (True, False)
    """
    return bool(values) and all(_DATE.fullmatch(value) for value in values)


def numbers_of(values: Sequence[str], decimal: str | None = None) -> list[float | None] | None:
    """The numbers that the values are; None in the place of one that stands for no number, as "-".

    Args:
        values: Distinct texts.
        decimal: The decimal mark, "." or ","; None: it is taken from the values.

    Returns:
        None: some are no numbers, or the decimal mark is in doubt, as in "1,234" alone.

    Example:
        >>> from tsbn_hub.data.sets.table.values import numbers_of
        >>> numbers_of(["1.5", "-", "2e3"]), numbers_of(["1,5", "2"]), numbers_of(["1.234,5"]), numbers_of(["1,234"])
        ([1.5, None, 2000.0], [1.5, 2.0], [1234.5], None)
        >>> numbers_of(["1,234"], decimal=","), numbers_of(["1,234"], decimal=".")
        ([1.234], [1234.0])
    """
    if decimal is None:
        decimal = decimal_mark(values)
        if decimal is None:
            return None
    numbers: list[float | None] = []
    for value in values:
        if value.casefold() in _NO_NUMBER:
            numbers.append(None)
            continue
        text = value if value[0] != "\u2212" else f"-{value[1:]}"
        if _GROUPED.fullmatch(text):
            other = "." if decimal == "," else ","
            text = text.replace(other, "").replace("'", "").replace(" ", "")
        text = text.replace(",", ".") if decimal == "," else text
        if not _NUMBER.fullmatch(text):
            return None
        numbers.append(float(text))
    return numbers


def decimal_mark(values: Iterable[str]) -> str | None:
    """The mark that the numbers have before their decimals: "." if none has any; None: it is in doubt.

    A mark is sure where one number has both a comma and a point, the last is it; or has one that is not followed by
    three digits.
    """
    doubtful, sure = False, set()
    for value in values:
        if "," not in value:
            continue
        if "." in value:
            sure.add("," if value.rindex(",") > value.rindex(".") else ".")
        elif value.count(",") > 1:
            sure.add(".")
        elif not re.search(r"\d,\d{3}$", value):
            sure.add(",")
        else:
            doubtful = True
    if len(sure) > 1:
        return None
    return sure.pop() if sure else None if doubtful else "."
