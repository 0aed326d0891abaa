"""Small folders in the layouts of data sets that may not be passed on, written by NumPy and Pillow alone."""

import numpy as np
from PIL import Image


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def write_nyuv2(root, train=12, val=3, height=4, width=6):
    """Image i is i / 16 everywhere, in the upper left corner 1, 0.5, 0."""
    for split, count in (("train", train), ("val", val)):
        for i in range(count):
            image = np.full((height, width, 3), i / 16, np.float32)
            image[0, 0] = [1.0, 0.5, 0.0]
            label = np.full((height, width), 12.0, np.float64)
            label[0, 0], label[1, 2] = -1.0, 3.0
            depth = np.full((height, width, 1), 2.5, np.float32)
            depth[0, 0], depth[1, 2] = 0.0, 1.25
            normal = np.zeros((height, width, 3), np.float32)
            normal[1:] = [0.6, 0.0, 0.8]
            for folder, array in (("image", image), ("label", label), ("depth", depth), ("normal", normal)):
                save(root / split / folder / f"{i}.npy", array)
    return root


def write_cityscapes(root, folder="label_7", train=4, val=2, height=4, width=8):
    """Image i is the byte 51 everywhere."""
    for split, count in (("train", train), ("val", val)):
        for i in range(count):
            label = np.full((height, width), 1, np.int64)
            label[0, 0], label[3, 7] = -1, 0
            depth = np.full((height, width, 1), 0.25, np.float64)
            depth[0, 0] = 0
            save(root / split / "image" / f"{i}.npy", np.full((height, width, 3), 51, np.uint8))
            save(root / split / folder / f"{i}.npy", label)
            save(root / split / "depth" / f"{i}.npy", depth)
    return root


NAMES = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male "
    "Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks "
    "Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace "
    "Wearing_Necktie Young"
)


def write_celeba(root, flat=None, splits="00000000112"):
    """Image i (from 1) has the attributes whose number is a multiple of i, and is of one grey, 10 i.

    Args:
        root: The folder.
        flat: None: folders Anno, Eval and Img; else the folder for all files.
        splits: The digit of each image.
    """
    anno, evaluation, img = (root / (name if flat is None else flat) for name in ("Anno", "Eval", "Img"))
    for folder in (anno, evaluation, img / "img_align_celeba"):
        folder.mkdir(parents=True, exist_ok=True)
    rows, partition = [], []
    for i, split in enumerate(splits, 1):
        name = f"{i:06d}.jpg"
        entries = [" 1" if at % i == 0 else "-1" for at in range(40)]
        rows.append(f"{name} {' '.join(entries)}")
        partition.append(f"{name} {split}")
        Image.new("RGB", (178, 218), (10 * i,) * 3).save(img / "img_align_celeba" / name)
    (anno / "list_attr_celeba.txt").write_text("\n".join([str(len(rows)), NAMES + " ", *rows]) + "\n")
    (evaluation / "list_eval_partition.txt").write_text("\n".join(partition) + "\n")
    return root
