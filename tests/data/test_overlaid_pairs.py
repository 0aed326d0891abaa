"""MultiDigits and MultiFashion."""

import gzip
import shutil
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader

from tsbn_hub.data import MultiDigits, MultiFashion
from tsbn_hub.data.sets.multi_fashion import FOLDER_VARIABLE, read_idx
from tsbn_hub.data.sets.overlaid_pairs import OverlaidPairs

FASHION = Path(__file__).parent / "fashion-mnist"


def test_an_image_is_its_two_parts():
    images = torch.zeros(2, 2, 2, dtype=torch.uint8)
    images[0], images[1] = 255, 51
    pairs = OverlaidPairs(images, torch.tensor([3, 7]), shift=1, seed=0)
    assert len(pairs) == 2
    for at in range(2):
        sample = pairs[at]
        left, right = (images[[3, 7].index(int(sample["targets"][task]))] for task in ("left", "right"))
        expected = torch.zeros(3, 3)
        expected[:2, :2] = left.float() / 255
        expected[1:, 1:] = torch.maximum(expected[1:, 1:], right.float() / 255)
        torch.testing.assert_close(sample["image"][0], expected)
    assert images[0].eq(255).all() and images[1].eq(51).all(), "the source must stay as it is"


def test_multi_digits():
    train, test = MultiDigits("train"), MultiDigits("test")
    assert (len(train), len(test)) == (12_000, 1_188)
    batch = next(iter(DataLoader(train, 256, shuffle=True)))
    assert batch["image"].shape == (256, 1, 32, 32) and batch["image"].dtype == torch.float32
    assert batch["image"].min() >= 0 and 0.9 < batch["image"].max() <= 1
    for task in ("left", "right"):
        assert batch["targets"][task].dtype == torch.int64 and batch["targets"][task].unique().tolist() == [*range(10)]
    assert torch.equal(train[5]["image"], MultiDigits("train")[5]["image"])
    assert not torch.equal(train[5]["image"], MultiDigits("train", seed=1)[5]["image"])


def test_multi_digits_shares_no_digit_between_splits():
    parts = [{tuple(digit.flatten().tolist()) for digit in MultiDigits(split)._images} for split in ("train", "test")]
    assert not parts[0] & parts[1]
    assert sum(map(len, parts)) == len({tuple(digit.flatten()) for digit in load_digits().images})


def test_split_off_shares_no_image():
    kept, held_out = MultiDigits("train").split_off(0.1, seed=3)
    assert (len(kept), len(held_out)) == (8 * 1350, 8 * 150)
    parts = [{tuple(digit.flatten().tolist()) for digit in part._images} for part in (kept, held_out)]
    assert not parts[0] & parts[1]


def test_multi_fashion_test_set():
    data = MultiFashion(FASHION, split="test")
    assert len(data) == 10_000 and data[0]["image"].shape == (1, 36, 36)
    counts = torch.bincount(torch.tensor([int(data[at]["targets"]["left"]) for at in range(0, 10_000)]))
    assert counts.tolist() == [1000] * 10  # as the source says of Fashion-MNIST


def test_a_second_run_draws_no_pair_of_fashion(monkeypatch, tmp_path):
    monkeypatch.setenv("TSBN_DATA_CACHE", str(tmp_path))
    whole = MultiFashion(FASHION, split="test")
    parts = [whole, *whole.split_off(0.1, seed=3)]
    drawn = [part[5] for part in parts]
    assert len({sample["image"].sum().item() for sample in drawn}) == 3
    monkeypatch.setattr(OverlaidPairs, "_drawn_pairs", None)
    whole = MultiFashion(FASHION, split="test")
    for sample, part in zip(drawn, [whole, *whole.split_off(0.1, seed=3)], strict=True):
        assert torch.equal(part[5]["image"], sample["image"]) and part[5]["targets"] == sample["targets"]
    with pytest.raises(TypeError):
        MultiFashion(FASHION, split="test", seed=1)[5]


def test_a_part_has_pairs_of_its_own():
    whole = MultiDigits("test")
    image = whole[0]["image"]
    for part in whole.split_off(0.5):  # the whole has been drawn, the parts have not
        assert torch.equal(part[0]["image"][0, :24, :8], part._images[0, :, :8].float() / 255)
    assert torch.equal(whole[0]["image"], image)


def test_multi_fashion_is_found_by_the_environment(monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(FASHION))
    assert len(MultiFashion(split="test")) == 10_000


def test_multi_fashion_that_is_not_there_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}.*\${FOLDER_VARIABLE}.*apt install.*download=True"):
        MultiFashion(tmp_path)
    with pytest.raises(ValueError, match="split='valid' is unknown"):
        MultiFashion(tmp_path, split="valid")


@pytest.mark.parametrize("harm", ["truncated", "foreign", "short"])
def test_harmed_files(tmp_path, harm):
    shutil.copytree(FASHION, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    content = path.read_bytes()
    if harm == "truncated":
        content = content[: len(content) // 2]
    elif harm == "foreign":
        content = gzip.compress(b"GIF89a")
    else:
        content = gzip.compress(gzip.decompress(content)[:-5], compresslevel=1)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=str(path)):
        MultiFashion(tmp_path, split="test")


def test_read_idx_agrees_with_torchvision(tmp_path):
    from torchvision.datasets.mnist import read_image_file

    path = FASHION / "t10k-images-idx3-ubyte.gz"
    unpacked = tmp_path / "images"
    unpacked.write_bytes(gzip.decompress(path.read_bytes()))
    assert torch.equal(read_idx(path), read_image_file(str(unpacked)))
