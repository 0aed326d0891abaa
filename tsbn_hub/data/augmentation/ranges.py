"""The numbers that options may be."""


def as_number(name: str, value: object, least: float, most: float) -> float:
    """A number of a range.

    Raises:
        ValueError: if it is none; it names the option.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name}={value!r} must be a number in [{least:g}, {most:g}].")
    return float(value)


def as_range(name: str, value: object, least: float, most: float) -> tuple[float, float]:
    """Two numbers of a range, from the low to the high one.

    Raises:
        ValueError: if they are none; it names the option.
    """
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{name}={value!r} must be two numbers, [low, high].")
    low, high = (as_number(name, each, least, most) for each in value)
    if low > high:
        raise ValueError(f"{name}={value!r} must have the low one first.")
    return low, high
