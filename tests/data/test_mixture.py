"""Several data sets as one."""

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split

from tsbn_hub.data import (
    Collate,
    EvaluationBatches,
    Mixture,
    MultiDigits,
    SeededSamples,
    TrainingBatches,
    split_off,
    tasks_of,
)
from tsbn_hub.tasks import Task


class Numbers(Dataset):
    """Samples that show their number, counted from `start`, in every pixel and in the target of every task."""

    def __init__(self, start, size, **num_classes):
        self.start, self.size, self.num_classes = start, size, num_classes

    def __len__(self):
        return self.size

    def __getitem__(self, at):
        if not 0 <= at < self.size:
            raise IndexError(at)
        number = torch.tensor(self.start + at)
        image = torch.full((1, self.size, 2), float(number))  # each data set has its own size of image
        return {"image": image, "targets": dict.fromkeys(self.num_classes, number)}


class Families(Numbers):
    """Neighbours belong together: 0 and 1, 2 and 3, …"""

    def split_off(self, fraction, seed=0):
        held_out = 2 * round(fraction * self.size / 2)
        return tuple(
            Families(start, size, **self.num_classes)
            for start, size in ((self.start + held_out, self.size - held_out), (self.start, held_out))
        )


def numbers(data):
    return [int(data[at]["image"].max()) for at in range(len(data))]


def test_a_mixture_is_its_data_sets_one_after_the_other():
    parts = [Numbers(0, 3, a=5, b=2), Numbers(100, 4, c=7, b=2)]
    mixture = Mixture(parts)
    assert mixture.datasets == parts and mixture.sizes == [3, 4] and mixture.rates is None and len(mixture) == 7
    assert mixture.tasks == [Task("a", num_classes=5), Task("b", num_classes=2), Task("c", num_classes=7)]
    assert numbers(mixture) == [0, 1, 2, 100, 101, 102, 103]
    assert sorted(mixture[4]["targets"]) == ["b", "c"]
    assert Mixture(parts, (1, 2.5)).rates == [1, 2.5]


def test_what_does_not_mix():
    with pytest.raises(ValueError, match=r"'b'.*: 2\} in data set 0 \(Numbers\), but .*: 3\} in data set 2 \(Famil"):
        Mixture([Numbers(0, 3, b=2), Numbers(0, 3, a=5, b=2), Families(0, 4, b=3)])
    with pytest.raises(ValueError, match=r"TensorDataset must say its tasks"):
        Mixture([Numbers(0, 3, b=2), TensorDataset(torch.zeros(3))])
    with pytest.raises(ValueError, match="at least one"):
        Mixture([])
    for rates in ([1], [1, 0], [1, float("nan")]):
        with pytest.raises(ValueError, match="positive numbers, one for each of the 2 data sets"):
            Mixture([Numbers(0, 3, b=2), Numbers(0, 3, a=5)], rates)


def test_split_off_agrees_with_torch_and_keeps_the_tasks():
    data = Numbers(0, 50, a=5)
    kept, held_out = split_off(data, 0.3, seed=4)
    expected = random_split(data, [0.7, 0.3], torch.Generator().manual_seed(4))
    assert [numbers(kept), numbers(held_out)] == [[data.start + at for at in part.indices] for part in expected]
    assert sorted(numbers(kept) + numbers(held_out)) == list(range(50))
    assert tasks_of(kept) == tasks_of(held_out) == [Task("a", num_classes=5)]
    assert [len(part) for part in split_off(TensorDataset(torch.zeros(9)), 0.3)] == [7, 2]  # one without tasks


def test_split_off_is_the_data_sets_own_where_it_has_one():
    kept, held_out = split_off(MultiDigits("train"), 0.1, seed=3)
    again = MultiDigits("train").split_off(0.1, seed=3)
    for part, other in zip((kept, held_out), again, strict=True):
        assert len(part) == len(other) and torch.equal(part[7]["image"], other[7]["image"])
    assert (len(kept), len(held_out)) == (8 * 1350, 8 * 150)


@pytest.mark.parametrize("fraction", [-0.1, 0, 1, 1.5])
def test_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match=rf"fraction={fraction} must lie in \(0, 1\)"):
        split_off(MultiDigits("test"), fraction)


def test_a_mixture_splits_each_of_its_own():
    mixture = Mixture([Numbers(0, 20, a=5), Mixture([Families(100, 40, b=2), Numbers(200, 10, c=3)])], [1, 3])
    kept, held_out = mixture.split_off(0.1, seed=5)
    assert (kept.sizes, held_out.sizes) == ([18, 36 + 9], [2, 4 + 1])
    assert kept.rates == held_out.rates == [1, 3]
    assert kept.tasks == held_out.tasks == mixture.tasks
    assert sorted(numbers(kept) + numbers(held_out)) == sorted(numbers(mixture))
    assert set(numbers(held_out)) >= {100, 101, 102, 103}, "the families stay together"
    assert numbers(held_out) == numbers(mixture.split_off(0.1, seed=5)[1])
    assert numbers(held_out) != numbers(mixture.split_off(0.1, seed=6)[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mixture_through_a_loader(workers):
    mixture = Mixture([Numbers(0, 9, a=9), Numbers(100, 13, b=200, c=200)], [1, 2])
    collate = Collate(dict.fromkeys("abc", -100))
    samplers = TrainingBatches(mixture.sizes, 3, 0, mixture.rates), EvaluationBatches(mixture.sizes, 4)
    for sampler in samplers:
        loader = DataLoader(SeededSamples(mixture), batch_sampler=sampler, num_workers=workers, collate_fn=collate)
        assert len(loader) == len(sampler)
        seen = []
        for batch in loader:
            first_set = "a" in batch["targets"]
            assert sorted(batch["targets"]) == (["a"] if first_set else ["b", "c"])
            assert batch["image"].shape[1:] == ((1, 9, 2) if first_set else (1, 13, 2))
            for target in batch["targets"].values():
                assert torch.equal(target.float(), batch["image"][:, 0, 0, 0])
            seen += target.tolist()
        if sampler is samplers[1]:
            assert seen == [*range(9), *range(100, 113)]
        else:
            assert sum(number < 100 for number in seen) == 3 * 2 and len(seen) == 3 * 7  # 3 + 4 rounds, as 1 to 2
