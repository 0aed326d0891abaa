"""What `--set` sets."""

from typing import Any

from ..files.parsing import parse_yaml


def with_settings(options: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """The options that are given, and what `--set` sets beside them.

    Args:
        options: By key of the config; None where an option is not given.
        settings: Each `KEY=VALUE`, the value in YAML. Dots in a key lead into mappings: `data_args.size=96`.

    Raises:
        ValueError: if one is not of this form, or sets what is given already, be it a part or the whole of it.

    Example:
        >>> from tsbn_hub.cli.settings import with_settings
        >>> with_settings({"lr": 0.1, "epochs": None}, ["tasks=[left, right]", "data_args.size=96"])
        {'lr': 0.1, 'tasks': ['left', 'right'], 'data_args.size': 96}
    """
    values = {key: value for key, value in options.items() if value is not None}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not all(key.split(".")):
            raise ValueError(f"--set {setting}: write KEY=VALUE.")
        for given in values:
            if f"{given}.".startswith(f"{key}.") or f"{key}.".startswith(f"{given}."):
                raise ValueError(f"--set {setting}: {given} is given already, as {values[given]}.")
        try:
            values[key] = parse_yaml(value)
        except ValueError as error:
            raise ValueError(f"--set {setting}: {value} is no YAML. {error}") from error
    return values
