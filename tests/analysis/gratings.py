"""Tasks of which it is known how alike they are: each asks for two of four gratings in an image, and no other.

Two tasks with the same gratings are alike, whatever their classes are called. Those with the two others are opposed:
what one must see, the other must not. With one grating in common and one not, the use of one task says nothing about
that of the other: they are unrelated.
"""

import math

import torch
from torch import nn

import tsbn_hub

DIRECTIONS = torch.tensor([(1.0, 0.0), (0.0, 1.0), (0.5**0.5, 0.5**0.5), (0.5**0.5, -(0.5**0.5))])
GRATINGS = {"base": (0, 1), "alike": (0, 1), "opposed": (2, 3), "unrelated": (0, 2), "other": (1, 3)}
_PERIOD, _NOISE, _CHANNELS = 4, 0.3, 16


def draw_gratings(images, size, generator):
    """Images (N, 1, size, size), and which gratings they have, (N, 4). Each has a phase of its own."""
    present = torch.randint(2, (images, 4), generator=generator)
    places = torch.cartesian_prod(torch.arange(size), torch.arange(size)).T * (2 * math.pi / _PERIOD)
    phases = 2 * math.pi * torch.rand(images, 4, 1, generator=generator)
    waves = torch.sin(DIRECTIONS @ places + phases) * present[..., None]
    noise = _NOISE * torch.randn(images, size * size, generator=generator)
    return (waves.sum(1) + noise).view(images, 1, size, size), present


def labels_of(task, present):
    """Which of the task's gratings there are, as one of four classes; the classes of "alike" are called otherwise."""
    first, second = GRATINGS[task]
    classes = 2 * present[:, first] + present[:, second]
    return torch.tensor([2, 3, 1, 0])[classes] if task == "alike" else classes


def trained_on_gratings(tasks, seed, steps, size=16, batch=64):
    """A small network with gates, trained on these tasks, and its accuracy in the last step, by task."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    trunk = nn.Sequential(
        nn.Conv2d(1, _CHANNELS, 5, padding=2, bias=False), nn.BatchNorm2d(_CHANNELS), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, bias=False), nn.BatchNorm2d(_CHANNELS), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    model = tsbn_hub.convert(trunk, tasks=list(tasks))
    heads = nn.ModuleDict({task: nn.Linear(_CHANNELS, 4) for task in tasks})
    groups = tsbn_hub.param_groups(model, lr=1e-2, weight_decay=1e-4, gate_lr_scale=10)
    optimizer = torch.optim.Adam([*groups, {"params": heads.parameters(), "lr": 1e-2}])
    accuracy = {}
    for _ in range(steps):
        images, present = draw_gratings(batch, size, generator)
        loss = 0
        for task, features in model(images).items():
            logits, labels = heads[task](features), labels_of(task, present)
            accuracy[task] = (logits.argmax(1) == labels).float().mean().item()
            loss = loss + nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, accuracy
