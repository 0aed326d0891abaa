"""Batches: which samples they have, and what augmentation draws."""

import random
from collections import Counter
from functools import partial
from itertools import accumulate, chain, pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset

from tsbn_hub import Task
from tsbn_hub.data import Collate, Draw, EvaluationBatches, Mixture, SeededSamples, TrainingBatches

batch_sizes = st.integers(1, 7)
some_processes = st.integers(1, 4)
seeds = st.integers(-(2**40), 2**40)


@st.composite
def training(draw):
    """Sizes, batch size, processes and rates with which every set gets a round."""
    batch_size, processes = draw(batch_sizes), draw(some_processes)
    round_size = batch_size * processes
    sizes = draw(st.lists(st.integers(round_size, 5 * round_size), min_size=1, max_size=4))
    rates = draw(st.none() | st.lists(st.floats(0.1, 10), min_size=len(sizes), max_size=len(sizes)))
    if rates is not None:
        total = sum(size // round_size for size in sizes)
        assume(all(total * rate / sum(rates) >= 1 for rate in rates))
    return sizes, batch_size, processes, rates


def flat(batches):
    return list(chain.from_iterable(batches))


def indices(batches):
    return [[draw.index for draw in batch] for batch in batches]


def set_of(sizes, index):
    return next(at for at, end in enumerate(accumulate(sizes)) if index < end)


def global_states():
    return torch.get_rng_state().tolist(), str(np.random.get_state(legacy=False)), random.getstate()


class Noisy(Dataset):
    """Samples with random augmentation from all three global generators; one of them may not be readable."""

    def __init__(self, size, broken=None):
        self.size, self.broken = size, broken

    def __len__(self):
        return self.size

    def __getitem__(self, at):
        if at == self.broken:
            raise OSError("no such image")
        noise = [torch.rand(()).item(), float(np.random.rand()), random.random(), float(np.random.randn())]
        return {"image": torch.tensor([float(at), *noise], dtype=torch.float64), "targets": {"a": torch.tensor(at)}}


# --- training


@given(training(), seeds)
def test_rounds_of_all_processes_are_those_of_one(setting, seed):
    sizes, batch_size, processes, rates = setting
    whole = list(TrainingBatches(sizes, batch_size * processes, seed, rates))
    parts = [TrainingBatches(sizes, batch_size, seed, rates, process, processes) for process in range(processes)]
    assert [flat(batches) for batches in zip(*parts, strict=True)] == whole
    assert {len(part) for part in parts} == {len(whole)}
    assert all(len(batch) == batch_size for part in parts for batch in part)


@given(training(), seeds, st.integers(0, 5), st.data())
def test_resuming_gives_the_tail_of_the_epoch(setting, seed, epoch, data):
    sizes, batch_size, processes, rates = setting
    batches = TrainingBatches(sizes, batch_size, seed, rates, processes - 1, processes)
    batches.set_position(epoch)
    whole = list(batches)
    first = data.draw(st.integers(0, len(whole)))
    resumed = TrainingBatches(sizes, batch_size, seed, rates, processes - 1, processes)
    resumed.set_position(epoch, first)
    assert list(resumed) == whole[first:]
    assert len(resumed) == len(whole)


@given(training(), seeds)
def test_a_round_has_samples_of_one_set_which_is_used_up_before_it_comes_again(setting, seed):
    sizes, batch_size, processes, rates = setting
    rounds = indices(TrainingBatches(sizes, batch_size * processes, seed, rates))
    assert all(len({set_of(sizes, index) for index in batch}) == 1 for batch in rounds)
    drawn = flat(rounds)
    for at, end in enumerate(accumulate(sizes)):
        own = [index for index in drawn if set_of(sizes, index) == at]
        passes = [own[first : first + sizes[at]] for first in range(0, len(own), sizes[at])]
        for some_pass in passes:
            assert len(set(some_pass)) == len(some_pass) and set(some_pass) <= set(range(end - sizes[at], end))
        if rates is None:
            assert len(passes) == 1 and sizes[at] - len(own) < batch_size * processes


@given(training(), seeds)
def test_rates_divide_the_rounds(setting, seed):
    sizes, batch_size, processes, rates = setting
    rounds = indices(TrainingBatches(sizes, batch_size * processes, seed, rates))
    total = sum(size // (batch_size * processes) for size in sizes)
    assert len(rounds) == total
    if rates is not None:
        counts = Counter(set_of(sizes, batch[0]) for batch in rounds)
        for at, rate in enumerate(rates):
            assert abs(counts[at] - total * rate / sum(rates)) < 1


def test_rates_divide_by_largest_remainder():
    batches = TrainingBatches([20] * 5, 10, seed=0, rates=[4.7, 1.6, 1.58, 1.2, 0.92])  # 10 rounds
    counts = Counter(batch[0] // 20 for batch in indices(batches))
    assert [counts[at] for at in range(5)] == [5, 2, 1, 1, 1]


@given(seeds, st.integers(0, 2**31))
def test_order_and_seeds_are_of_seed_and_epoch(seed, epoch):
    def drawn(seed, epoch):
        batches = TrainingBatches([100], 5, seed)
        batches.set_position(epoch)
        return flat(batches)

    first = drawn(seed, epoch)
    assert first == drawn(seed, epoch)
    for other in (drawn(seed, epoch + 1), drawn(seed + 1, epoch)):
        assert [draw.index for draw in other] != [draw.index for draw in first]
        assert not {draw.seed for draw in other} & {draw.seed for draw in first}
    assert len({draw.seed for draw in first}) == 100 and all(0 <= draw.seed < 2**63 for draw in first)


def test_the_order_stays_what_it_was():
    """A checkpoint of an earlier version goes on with the same samples."""
    batches = TrainingBatches([6, 4], 2, seed=0)
    batches.set_position(1)
    assert next(iter(batches)) == [Draw(9, 6100099324621469552), Draw(7, 1083587807900398238)]


def test_seeds_depend_on_the_place_in_the_epoch_alone():
    few, many = (
        [draw.seed for batch in TrainingBatches(sizes, size, seed=3) for draw in batch]
        for sizes, size in (([50], 5), ([300, 1000], 7))
    )
    assert few == many[:50]


def test_sets_come_mixed():
    batches = TrainingBatches([500, 500], 5, seed=0)
    sets = [batch[0] // 500 for batch in indices(batches)]
    changes = sum(before != after for before, after in pairwise(sets))
    assert 70 < changes < 130  # 199 neighbours, half of which differ


def test_a_set_smaller_than_a_round_goes_round_and_round_with_rates():
    batches = TrainingBatches([3, 40], 8, seed=0, rates=[1, 1])
    small = [batch for batch in indices(batches) if batch[0] < 3]
    assert len(small) in (2, 3) and all(sorted(Counter(batch).values()) == [2, 3, 3] for batch in small)


@pytest.mark.parametrize("batches", [TrainingBatches([9, 30], 3, 0, [1, 2]), EvaluationBatches([9, 30], 4)])
def test_global_generators_are_neither_read_nor_moved(batches):
    before = global_states()
    drawn = list(batches)
    assert global_states() == before
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(5)
    assert list(batches) == drawn


def test_set_without_a_round():
    with pytest.raises(ValueError, match=r"Data set 1 .* 7 samples, .* processes = 8\. Take a smaller batch_size\.$"):
        TrainingBatches([80, 7], 4, 0, processes=2)
    with pytest.raises(ValueError, match=r"Data set 0 gives no batch .* or a greater rate"):
        TrainingBatches([80, 80], 8, 0, rates=[1, 1000])
    with pytest.raises(ValueError, match=r"Data set 1 .* 0 samples"):
        TrainingBatches([80, 0], 8, 0, rates=[1, 1])
    with pytest.raises(ValueError, match="Data set 0 gives no batch"):
        TrainingBatches([7, 7], 8, 0, rates=[1, 1])


@pytest.mark.parametrize("rates", [[1], [1, 0], [1, -1], [1, float("nan")], [1, float("inf")]])
def test_wrong_rates(rates):
    with pytest.raises(ValueError, match=r"rates=.* positive numbers, one for each of the 2 data sets"):
        TrainingBatches([8, 8], 2, 0, rates)


@pytest.mark.parametrize("batches", [partial(TrainingBatches, seed=0), EvaluationBatches])
@pytest.mark.parametrize(
    "sizes, batch_size, process, processes, message",
    [
        ([], 1, 0, 1, r"sizes=\[\]"),
        ([8], 0, 0, 1, "batch_size=0"),
        ([8], 1, 2, 2, "process=2 .* processes=2"),
        ([8], 1, -1, 2, "process=-1"),
        ([8], 1, 0, 0, "processes=0"),
    ],
)
def test_numbers_out_of_range(batches, sizes, batch_size, process, processes, message):
    with pytest.raises(ValueError, match=message):
        batches(sizes, batch_size, process=process, processes=processes)


@pytest.mark.parametrize("first", [-1, 5])
def test_position_that_an_epoch_has_not(first):
    batches = TrainingBatches([8], 2, 0)
    batches.set_position(0, 4)
    assert list(batches) == []
    with pytest.raises(ValueError, match=rf"first_batch={first}: an epoch has 4 batches"):
        batches.set_position(0, first)


# --- evaluation


@given(st.lists(st.integers(0, 60), min_size=1, max_size=4), batch_sizes, some_processes)
def test_evaluation_has_every_sample_once(sizes, batch_size, processes):
    parts = [EvaluationBatches(sizes, batch_size, process, processes) for process in range(processes)]
    assert sorted(draw.index for part in parts for batch in part for draw in batch) == list(range(sum(sizes)))
    whole = list(EvaluationBatches(sizes, batch_size))
    assert flat(indices(whole)) == list(range(sum(sizes)))
    for process, part in enumerate(parts):
        assert list(part) == whole[process::processes] and len(part) == len(list(part))
    assert all(len({set_of(sizes, index) for index in batch}) == 1 for batch in indices(whole))
    assert len(whole) == sum(-(-size // batch_size) for size in sizes)
    assert max(map(len, whole), default=0) <= batch_size
    seed_of = dict(flat(whole))
    assert len(set(seed_of.values())) == sum(sizes)
    assert dict(draw for batch in EvaluationBatches([sum(sizes)], 3) for draw in batch) == seed_of


# --- samples


def loaded(data, workers, epoch=0, first_batch=0):
    batches = TrainingBatches([len(data)], 4, seed=1)
    batches.set_position(epoch, first_batch)
    loader = DataLoader(
        SeededSamples(data), batch_sampler=batches, num_workers=workers, collate_fn=Collate({"a": -100})
    )
    images = []
    for batch in loader:
        images.append(batch["image"])
        torch.rand(workers + 1), np.random.rand(), random.random()  # as dropout would
    return torch.stack(images)


def test_augmentation_is_bit_for_bit_the_same_with_any_number_of_workers():
    data = Noisy(22)
    alone = loaded(data, workers=0)
    assert alone.shape == (5, 4, 5)
    for workers in (1, 2):
        assert torch.equal(loaded(data, workers), alone)
        assert torch.equal(loaded(data, workers, first_batch=3), alone[3:])


def test_augmentation_is_another_one_for_every_draw():
    draws = torch.cat([loaded(Noisy(22), 0, epoch) for epoch in range(3)]).flatten(0, 1)
    assert draws[:, 0].unique().numel() == 22
    for column in draws[:, 1:].T:
        assert column.unique().numel() == len(draws)


def test_torch_and_numpy_do_not_draw_the_same_numbers():
    """Both have the Mersenne twister, and draw the same from the same seed."""

    class Bits(Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, at):
            by_random = [random.getrandbits(32) for _ in range(50)]
            by_numpy = np.random.randint(2**32, size=50, dtype=np.uint32).tolist()
            return [set(torch.randint(2**32, (50,)).tolist()), set(by_numpy), set(by_random)]

    by_torch, by_numpy, by_random = SeededSamples(Bits())[Draw(0, 2**62 + 12345)]
    assert not by_torch & by_numpy and not by_torch & by_random and not by_numpy & by_random


def test_global_generators_are_put_back():
    np.random.randn()  # leaves one number kept for the next call
    before = global_states()
    samples = SeededSamples(Noisy(5, broken=3))
    samples[Draw(1, 7)]
    samples.__getitems__([Draw(1, 7), Draw(2, 8)])
    with pytest.raises(OSError):
        samples.__getitems__([Draw(1, 7), Draw(3, 8)])
    assert global_states() == before


def test_one_sample_is_what_it_is_in_a_batch():
    samples = SeededSamples(Noisy(5))
    draws = [Draw(4, 9), Draw(1, 2**61), Draw(4, 10)]
    for draw, sample in zip(draws, samples.__getitems__(draws), strict=True):
        assert torch.equal(samples[draw]["image"], sample["image"])
    assert len(samples) == 5


def test_accelerators_are_not_seeded(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    torch.manual_seed(0)
    assert seeded == [0]
    SeededSamples(Noisy(5))[Draw(1, 7)]
    assert seeded == [0]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_names_the_sample(workers):
    loader = DataLoader(SeededSamples(Noisy(9, broken=5)), batch_sampler=EvaluationBatches([9], 4), num_workers=workers)
    with pytest.raises(OSError) as caught:
        list(loader)
    told = str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert "no such image" in told and "This was sample 5 of Noisy." in told


class Files(Dataset):
    """Pictures in files, one of which is truncated; in another something else is wrong."""

    def __init__(self, folder):
        self.paths = [folder / f"{at}.png" for at in range(3)]
        for path in self.paths:
            Image.fromarray(np.random.default_rng(0).integers(256, size=(9, 9, 3), dtype=np.uint8)).save(path)
        self.paths[1].write_bytes(self.paths[1].read_bytes()[:90])

    def __len__(self):
        return 3

    def __getitem__(self, at):
        image = Image.open(self.paths[at])
        image.load()
        raise ValueError("something else")


def test_an_error_names_file_and_data_set(tmp_path):
    data = Mixture([Sized(Noisy(2)), Sized(Files(tmp_path))])
    for at, message in ((1, "truncated"), (2, "something else")):
        with pytest.raises((OSError, ValueError), match=message) as caught:
            SeededSamples(Subset(data, [0, 2 + at]))[Draw(1, 0)]
        assert caught.value.__notes__ == [f"This was sample {at} of Files (data set 1), from {tmp_path}/{at}.png."]


class Sized(Subset):
    """All of a data set, with tasks."""

    tasks = (Task("a", num_classes=2),)

    def __init__(self, data):
        super().__init__(data, range(len(data)))
