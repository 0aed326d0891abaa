"""Tables of tiny pictures, for tests."""

from PIL import Image


def write_pictures(folder, names, size=(40, 32)):
    """Write pictures of these names, each in a grey of its own."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number % 256, 99, 50)).save(path)


def write_table(folder, rows, name="train.csv", encoding="utf-8", end="\n"):
    """Write a table of lines, as bytes, so that line ends stay as they are."""
    path = folder / name
    path.write_bytes(end.join(rows).encode(encoding))
    return path
