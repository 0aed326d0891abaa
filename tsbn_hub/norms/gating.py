"""Which norms of a network get gates."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from .kernels import is_batch_norm, is_norm
from .task_norm import Style
from .wrappers import unwrapped

# The norms of queries and keys make attention numerically stable; they are no filters whose use could differ by task.
_QUERY_OR_KEY = re.compile(r"(^|_)(q|k|query|key)_?norm$|(^|_)norm_?(q|k|query|key)$|(^|_)(q|k)_layernorm$")

Patterns = str | Sequence[str] | None
_LAST = re.compile(r"last\s+(\d+(?:\.\d+)?)\s*%")


def gated_norms(module: nn.Module, gated: Patterns = None, style: Style = "sigmoid") -> list[str]:
    """The names of the norms that get gates.

    Args:
        module: A plain network, or what is wrapped around it.
        gated: None for the default: every BatchNorm, and of the other norms those of the blocks. "last 25%": of these
            the last quarter, in the order in which the network has them, at least one. Otherwise fnmatch patterns on
            module names, as a list or separated by commas.
        style: What the norms are to keep per task. For "statistics" only those that have running statistics count.

    Returns:
        Names, in the order of the network. A norm that stands at two places is named twice.

    Raises:
        ValueError: if a pattern matches no norm, a share is not above 0% and at most 100%, or the network has no norm,
            or none with what the style asks for.

    Example:
        >>> from torch import nn
        >>> from tsbn_hub.norms import gated_norms
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
        >>> gated_norms(net), gated_norms(net, gated="3"), gated_norms(net, gated="last 50%")
        (['1', '3'], ['3'], ['3'])
    """
    module = unwrapped(module)
    norms = {name: norm for name, norm in module.named_modules(remove_duplicate=False) if _can_be_gated(norm)}
    names = _chosen(module, norms, gated)
    if not any(can_be_per_task(norms[name], style) for name in names):
        raise ValueError(
            f"norm={style!r}: none of the {len(names)} norms of this {type(module).__name__} has running statistics, "
            'and no task would have anything of its own. For hard sharing say norm="shared".'
        )
    return [name for name in names if can_be_per_task(norms[name], style)]


def can_be_per_task(norm: nn.Module, style: Style) -> bool:
    """Whether a plain norm has what a style keeps for each task."""
    return style != "statistics" or (is_batch_norm(type(norm)) and getattr(norm, "running_mean", None) is not None)


def patterns_of(gated: Patterns) -> list[str]:
    """The fnmatch patterns on module names; none where norms are chosen by their place."""
    if gated is None or last_share(gated) is not None:
        return []
    return [pattern.strip() for pattern in gated.split(",")] if isinstance(gated, str) else list(gated)


def last_share(gated: Patterns) -> float | None:
    """The share in (0, 1] of "last 25%"; None where it is not said so.

    Raises:
        ValueError: if it is not above 0% and at most 100%.
    """
    found = _LAST.fullmatch(gated.strip()) if isinstance(gated, str) else None
    if found is None:
        return None
    share = float(found[1]) / 100
    if not 0 < share <= 1:
        raise ValueError(f"gated={gated!r} must be above 0% and at most 100%.")
    return share


def _chosen(module: nn.Module, norms: dict[str, nn.Module], gated: Patterns) -> list[str]:
    share = last_share(gated)
    if share is not None:
        names = _by_default(module, norms)
        return names[-max(1, round(share * len(names))) :]
    return _by_default(module, norms) if gated is None else _matching(norms, gated)


def _by_default(module: nn.Module, norms: dict[str, nn.Module]) -> list[str]:
    if not norms:
        raise ValueError(f"{type(module).__name__} has no norm layer that could get gates.")
    modules = dict(module.named_modules(remove_duplicate=False))
    others = [name for name, norm in norms.items() if not is_batch_norm(type(norm)) and not _of_queries_or_keys(name)]
    in_blocks = set(_in_blocks(others, modules))
    if any(is_batch_norm(type(norm)) for norm in norms.values()):
        return [name for name, norm in norms.items() if is_batch_norm(type(norm)) or name in in_blocks]
    # Some networks keep the norms of a block one level deeper (davit's spatial_block), or do not number their blocks.
    in_blocks = in_blocks or set(_below_blocks(others, modules)) or set(others)
    return [name for name in norms if name in in_blocks]


def _can_be_gated(norm: nn.Module) -> bool:
    if not is_norm(type(norm)):
        return False
    weight, shape = getattr(norm, "weight", None), getattr(norm, "normalized_shape", (1,))
    return weight.ndim == 1 if weight is not None else isinstance(shape, int) or len(shape) == 1


def _of_queries_or_keys(name: str) -> bool:
    return _QUERY_OR_KEY.search(name.rpartition(".")[2]) is not None


def _matching(norms: dict[str, nn.Module], gated: str | Sequence[str]) -> list[str]:
    patterns = patterns_of(gated)
    if not patterns:
        raise ValueError('gated is empty: no norm would be task-specific. For hard sharing say norm="shared".')
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in norms):
            some = ", ".join(list(norms)[:3])
            raise ValueError(
                f"gated={gated!r}: the pattern {pattern!r} matches the name of no norm. There are {len(norms)} "
                f"norms{f', such as {some}' if norms else ''}."
            )
    return [name for name in norms if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _is_numbered(name: str, modules: dict[str, nn.Module]) -> bool:
    return name.rpartition(".")[2].isdigit() and isinstance(modules[_parent(name)], nn.ModuleList | nn.Sequential)


def _innermost(units: set[str]) -> set[str]:
    return {unit for unit in units if not any(other.startswith(unit + ".") for other in units)}


def _in_blocks(norms: list[str], modules: dict[str, nn.Module]) -> list[str]:
    """Norms whose parent is a numbered unit that holds no further numbered unit with a norm of its own."""
    blocks = _innermost({_parent(name) for name in norms if _parent(name) and _is_numbered(_parent(name), modules)})
    return [name for name in norms if _parent(name) in blocks]


def _below_blocks(norms: list[str], modules: dict[str, nn.Module]) -> list[str]:
    """Norms anywhere below a numbered unit that holds no further numbered unit with norms."""
    units = {name: {unit for unit in _ancestors(name) if _is_numbered(unit, modules)} for name in norms}
    blocks = _innermost(set().union(*units.values()))
    return [name for name in norms if units[name] & blocks]


def _ancestors(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]
