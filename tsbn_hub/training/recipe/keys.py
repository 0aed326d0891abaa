"""The keys of a config, as they are told: what each means, and which of a run's are not the default."""

import inspect
import re
from dataclasses import MISSING, asdict, dataclass
from typing import get_type_hints

import yaml

from .config import TrainingConfig, default_values
from .values import type_name


@dataclass(frozen=True)
class Key:
    """A key of the config.

    Args:
        name: As it is written in a file, and after `--set`.
        type: What its value is: "int", "no | fp16 | bf16 | None".
        default: Its value where it is left out, in YAML; None: it has none, and must be given.
        meaning: What it does, from the docstring of TrainingConfig.
    """

    name: str
    type: str
    default: str | None
    meaning: str


def config_keys() -> dict[str, Key]:
    """All keys of a config by their names, in order.

    Example:
        >>> from tsbn_hub.training.recipe.keys import config_keys
        >>> config_keys()["weight_decay"]
        Key(name='weight_decay', type='float', default='0.0001', meaning="Of the trunk's and heads' weights.")
    """
    hints, meanings = get_type_hints(TrainingConfig), _meanings(TrainingConfig)
    defaults = {name: value for name, value in default_values().items() if value is not MISSING}
    return {
        name: Key(name, type_name(hint), _in_yaml(defaults[name]) if name in defaults else None, meanings[name])
        for name, hint in hints.items()
    }


def config_text(config: TrainingConfig) -> str:
    r"""A config as YAML that `TrainingConfig.read` makes the same config of: what is not the default stands first.

    Example:
        >>> from tsbn_hub.training import TrainingConfig
        >>> from tsbn_hub.training.recipe.keys import config_text
        >>> text = config_text(TrainingConfig(model="resnet18_tsbn", data="Scenes", output="runs/scenes", lr=0.01))
        >>> print("\n".join(text.splitlines()[:7]))
        # Not the default:
        model: resnet18_tsbn
        data: Scenes
        output: runs/scenes
        lr: 0.01
        <BLANKLINE>
        # The default:
    """
    values = asdict(config)
    given = {name: values[name] for name in ("model", "checkpoint", "data", "output")}
    plain = asdict(TrainingConfig(**given))
    left = [name for name in values if values[name] == plain[name] and (name not in given or given[name] is None)]
    parts = {
        "Not the default:": {name: value for name, value in values.items() if name not in left},
        "The default:": {name: values[name] for name in left},
    }
    return "\n".join(
        f"# {title}\n{yaml.safe_dump(part, sort_keys=False, allow_unicode=True)}" for title, part in parts.items()
    )


def _in_yaml(value: object) -> str:
    """A value as it is written in a config."""
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()


def _meanings(described: type) -> dict[str, str]:
    """What the `Args:` of a class's docstring, in Google's style, say of each."""
    section = re.split(r"^\w+:\n", inspect.getdoc(described) or "", flags=re.MULTILINE)[1]
    found = re.findall(r"^    (\w+): (.+\n(?:     .+\n)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}
