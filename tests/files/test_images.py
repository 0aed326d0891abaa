"""Images of any kind, from files of anybody's."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from tests.deploy.test_prediction import noise
from tsbn_hub.data import read_image
from tsbn_hub.files.images import FORMATS, check_image_file


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.png"
    noise().save(path)
    return path


def save_16_bits(path):
    Image.fromarray((np.asarray(noise(mode="L")).astype(np.uint16) << 8) + 7).save(path)


def save_transparent(path):
    image = noise(mode="RGBA")
    image.putalpha(Image.fromarray(np.tile(np.uint8([0, 255]), (40, 24))))
    image.save(path)


def on_white():
    values = np.asarray(noise()).copy()
    values[:, ::2] = 255
    return values


def save_turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    noise().save(path, exif=exif)


GREY = np.asarray(noise(mode="L"))[:, :, None].repeat(3, axis=2)
IMAGES = {
    "colour": (lambda path: noise().save(path), np.asarray(noise())),
    "grey": (lambda path: noise(mode="L").save(path), GREY),
    "16 bits": (save_16_bits, GREY),
    "transparent": (save_transparent, on_white()),
    "turned": (save_turned, np.rot90(np.asarray(noise()), -1)),
    "palette": (lambda path: noise().quantize(8).save(path), np.asarray(noise().quantize(8).convert("RGB"))),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_reading_an_image(kind, tmp_path):
    save, expected = IMAGES[kind]
    save(tmp_path / "image.png")
    assert np.array_equal(np.asarray(read_image(tmp_path / "image.png")), expected)


def test_floating_point_images_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "image.tiff")
    with pytest.raises(ValueError, match=r"image\.tiff cannot be read as an image: .*floating-point"):
        read_image(tmp_path / "image.tiff")


def test_an_image_as_large_as_a_bomb_is_told(image, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"image\.png cannot be read as an image: .*decompression bomb"):
        read_image(image)


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (101, 10_200)])
def test_a_strip_is_refused(size, tmp_path):
    Image.new("L", size).save(tmp_path / "strip.png")
    for read in (read_image, check_image_file):
        with pytest.raises(ValueError, match=r"strip\.png cannot be read as an image: .* one side is over 100 times"):
            read(tmp_path / "strip.png")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path, what in ((tmp_path / "pipe.png", "no file"), (tmp_path, "a folder")):
        for read in (read_image, check_image_file):
            with pytest.raises(ValueError, match=f"cannot be read as an image: it is {what}"):
                read(path)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n(touched) print\n%%EOF\n"


def test_no_other_program_is_run(tmp_path):
    (tmp_path / "image.png").write_bytes(EPS)
    with pytest.raises(ValueError, match=r"image\.png is no image that can be read \(AVIF, BMP, "):
        read_image(tmp_path / "image.png")


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_images_are_told(form, tmp_path):
    noise(160, 160).save(tmp_path / "whole", format=form)
    whole = (tmp_path / "whole").read_bytes()
    read_image(tmp_path / "whole")
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        damaged = bytearray(whole)
        for at in torch.randint(len(whole), (8,), generator=generator).tolist():
            damaged[at] ^= 0xFF
        del damaged[int(len(damaged) * torch.rand((), generator=generator)) :]
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            read_image(tmp_path / "damaged")
        except ValueError as error:
            assert "damaged" in str(error)
