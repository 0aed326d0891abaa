"""How many passes all tasks cost, against the counts of torch's counter for each part of the plain network."""

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from tsbn_hub.analysis import passes_by_fork

TASKS = ["a", "b", "c"]


def operations(plain: torch.nn.Module) -> dict[str, int]:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        plain.eval()(torch.zeros(1, 3, 224, 224))
    counts = counter.get_flop_counts()
    return {part: sum(counts[part].values()) for part in counts}


def test_a_pass_for_the_part_before_the_fork_and_one_a_task_behind_it():
    model = timm.create_model("resnet18_tsbn", tasks=TASKS, num_classes=5, gated="layer3*,layer4*")
    counted = operations(model.fold("a"))
    before = sum(counted[f"ResNet.{part}"] for part in ("conv1", "layer1", "layer2"))
    first = counted["ResNet.layer3.0.conv1"]  # its norm is the first that has gates
    total = counted["Global"]
    passes = passes_by_fork(model)
    assert next(iter(passes)) == "layer3.0.bn1"
    assert passes["layer3.0.bn1"] == (before + first + 3 * (total - before - first)) / total
    assert list(passes.values()) == sorted(passes.values(), reverse=True)
    assert all(1 <= each <= 3 for each in passes.values())


def test_a_narrower_gated_costs_what_was_said():
    wide = timm.create_model("resnet18_tsbn", tasks=TASKS, num_classes=5)
    forks = passes_by_fork(wide)
    names = wide.recipe.names
    for fork, passes in list(forks.items())[1:]:
        gated = names[names.index(fork) :]
        narrow = timm.create_model("resnet18_tsbn", tasks=TASKS, num_classes=5, gated=gated)
        assert next(iter(passes_by_fork(narrow).items())) == (fork, passes)


def test_there_is_nothing_to_say_of_one_task_or_of_hard_sharing():
    assert passes_by_fork(timm.create_model("test_resnet_tsbn")) == {}
    assert passes_by_fork(timm.create_model("test_resnet_tsbn", tasks=TASKS, norm="shared")) == {}
