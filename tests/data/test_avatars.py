"""Avatars: what is drawn is what the labels say."""

import dataclasses
import json
import sys
from importlib.resources import files
from random import Random

import numpy as np
import pytest
import torch

from tsbn_hub.data import Avatars, Mixture
from tsbn_hub.data.sets.avatars import dataset
from tsbn_hub.data.sets.avatars.drawing import avatar_of, check_installed, draw_avatar, draw_choices
from tsbn_hub.data.sets.avatars.style import ATTRIBUTES, UNSEEN
from tsbn_hub.tasks import make_kind
from tsbn_hub.training import TrainingConfig
from tsbn_hub.training.recipe.building import build_data

STYLES = Avatars.styles
AVATAAARS = STYLES["avataaars"]
PLAIN = {
    "top": "shortFlat", "accessories": None, "clothes": "hoodie", "clothesGraphic": "bear", "eyebrows": "default",
    "eyes": "default", "facialHair": None, "mouth": "default", "skinColor": "light", "hairColor": "black",
    "facialHairColor": "black", "clothesColor": "blue01", "hatColor": "red", "accessoriesColor": "black",
}  # fmt: skip


def pixels(style, choices, size=64):
    return np.asarray(draw_avatar(style, choices, size)).astype(int)


def changed(style, one, other, size=64):
    """By how much each pixel differs, from 0 to 255."""
    return np.abs(pixels(style, one, size) - pixels(style, other, size)).max(axis=-1)


def part_of(style, task):
    return style.attributes[task][0] if task in style.attributes else style.classes[task]


def same(one, other):
    return torch.equal(one["image"], other["image"]) and one["targets"] == other["targets"]


def test_what_a_sample_is():
    data = Avatars("test", images=3, tasks=[*AVATAAARS.classes, "glasses"])
    classes = {task.name: task.num_classes for task in data.tasks}
    assert classes == {
        "top": 34, "clothes_colour": 15, "eyes": 12, "mouth": 12, "clothes": 9, "skin": 7, "brows": 13,
        "hair_colour": 10, "glasses": 1,
    }  # fmt: skip
    assert [task.name for task in Avatars(images=1).tasks] == list(classes)[:6]
    sample = data[2]
    assert sample["image"].shape == (3, 64, 64) and sample["image"].dtype == torch.float32
    assert 0 <= sample["image"].min() < 0.3 and 0.7 < sample["image"].max() <= 1
    for task in data.tasks:
        if task.name in sample["targets"]:
            make_kind(task).check(sample["targets"][task.name][None], (64, 64))
    assert len(data) == 3 and Avatars(images=1, size=16)[0]["image"].shape == (3, 16, 16)


def test_an_image_depends_on_seed_split_and_index_alone():
    few, many = Avatars(images=2, size=32), Avatars(images=4, size=32)
    assert all(same(few[index], many[index]) for index in range(2))
    for other in (Avatars("test", images=1, size=32), Avatars(images=1, size=32, seed=1)):
        assert not same(other[0], few[0])
    assert not same(few[0], few[1])


def test_a_second_run_draws_nothing(monkeypatch):
    first = Avatars(images=3, size=24, seed=11)
    monkeypatch.setattr(dataset, "photograph", None)
    again = Avatars(images=3, size=24, seed=11, tasks=40)  # other tasks, the same images
    assert all(torch.equal(first[index]["image"], again[index]["image"]) for index in range(3))
    with pytest.raises(TypeError):
        Avatars(images=3, size=24, seed=12)


def test_another_process_draws_the_same_and_imports_the_libraries_only_then(python, tmp_path, monkeypatch):
    code = """
        import sys
        from tsbn_hub.data import Avatars
        print({"dicebear", "dicebear_styles", "resvg_py"} & set(sys.modules))
        print(Avatars(images=2, size=24)[1]["image"].double().sum().item())
    """
    own = Avatars(images=2, size=24)[1]["image"].double().sum().item()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert python(code).stdout.split() == ["set()", str(own)]
    assert list(tmp_path.rglob("*.safetensors")), "it has not drawn"


@pytest.mark.parametrize("name", STYLES)
def test_what_is_drawn_is_what_was_chosen(name):
    """DiceBear reports what it has drawn: of all parts, and every colour that is seen."""
    style, reported = STYLES[name], set()
    for index in range(40):
        choices = draw_choices(style, Random(index))
        drawn = avatar_of(style, choices).to_json()["options"]
        for part in style.options:
            if f"{part}Variant" in drawn or choices[part] is None:
                assert drawn.get(f"{part}Variant") == choices[part]
                reported.add(part)
        for part, palette in style.palettes.items():
            if part in drawn:
                assert drawn[part] == [palette.colours[choices[part]]]
                reported.add(part)
    assert reported == {*style.options, *style.palettes}


@pytest.mark.parametrize("name", STYLES)
def test_another_value_of_whatever_has_a_target_changes_what_is_seen(name):
    style = STYLES[name]
    parts = {part_of(style, task): task for task in style.tasks}
    for index in range(12):
        random = Random(index)
        choices = draw_choices(style, random)
        for part, task in parts.items():
            if style.target(task, choices) == UNSEEN:
                continue
            values = [value for value in style.labels(part) if value != choices[part]]
            if part in style.optional and choices[part] is not None:
                values.append(None)
            other = {**choices, part: random.choice(values)}
            difference = changed(style, choices, other)
            assert difference.max() >= 10 and difference.sum() >= 100, (choices, other)


# Where Avataaars has its parts on a canvas of 280: x, y, width, height.
@pytest.mark.parametrize(
    ("part", "box"),
    [
        ("eyes", (98, 98, 84, 36)),
        ("eyebrows", (92, 82, 96, 24)),
        ("mouth", (94, 140, 92, 38)),
        ("clothes", (40, 185, 200, 95)),
        ("accessories", (76, 46, 130, 93)),
        ("facialHair", (81, 98, 121, 120)),
    ],
)
def test_a_part_is_drawn_in_its_place(part, box):
    x, y, width, height = box
    elsewhere = np.ones((280, 280), bool)
    elsewhere[y - 2 : y + height + 2, x - 2 : x + width + 2] = False
    choices = {**PLAIN, "accessories": None}
    for value in AVATAAARS.labels(part):
        if value != choices[part]:
            difference = changed(AVATAAARS, choices, {**choices, part: value}, size=280)
            assert difference.max() > 30 and not difference[elsewhere].any(), value


@pytest.mark.parametrize("name", STYLES)
def test_the_colour_of_hair_has_a_target_where_it_is_seen(name):
    """Of all that is worn on the head: where there is no target, black and grey hair are the same but for a trace."""
    style = STYLES[name]
    if "dark_hair" not in style.attributes:
        return
    (head,) = style.hidden["hairColor"]
    plain = PLAIN if name == "avataaars" else draw_choices(style, Random(1))
    plain = {part: None if part in style.optional else value for part, value in plain.items()}
    colours = style.labels("hairColor")[1], style.labels("hairColor")[-3]
    for value in style.labels(head):
        one, other = ({**plain, head: value, "hairColor": colour} for colour in colours)
        seen = style.target("dark_hair", one) != UNSEEN
        difference = changed(style, one, other)
        if seen:
            assert (difference > 20).sum() > 10, value
        elif name == "avataaars":
            assert not difference.any(), value
            assert style.target("hair_colour", one) == style.target("red_hair", other) == UNSEEN


def test_targets_of_an_avatar():
    shown = {
        **PLAIN, "top": "winterHat1", "accessories": "sunglasses", "facialHair": "beardLight", "mouth": "twinkle",
        "skinColor": "darkBrown",
    }  # fmt: skip
    targets = {task: AVATAAARS.target(task, shown) for task in AVATAAARS.tasks}
    assert (targets["top"], targets["clothes_colour"], targets["mouth"], targets["skin"]) == (33, 1, 10, 5)
    assert {name: targets[name] for name in ATTRIBUTES[:12]} == {
        "glasses": 1, "facial_hair": 1, "beard": 1, "moustache": 0, "hat": 1, "long_hair": 0, "smiling": 1,
        "mouth_open": 0, "dark_skin": 1, "dark_hair": UNSEEN, "sunglasses": 1, "eyepatch": 0,
    }  # fmt: skip
    assert targets["eyes"] == targets["winking"] == targets["brows"] == targets["hair_colour"] == UNSEEN
    bare = {task: AVATAAARS.target(task, PLAIN) for task in AVATAAARS.tasks}
    assert UNSEEN not in bare.values()
    assert [name for name in ATTRIBUTES if bare[name]] == [
        "smiling", "mouth_open", "dark_hair", "hoodie", "blue_clothes",
    ]  # fmt: skip
    assert AVATAAARS.target("clothes", {**PLAIN, "top": "hijab"}) == UNSEEN


def test_a_target_that_is_not_seen_is_absent():
    data = Avatars(images=40, size=16, tasks=["hair_colour", "hat", "headscarf"])
    missing = [("hair_colour" not in (targets := data[index]["targets"]), targets) for index in range(40)]
    assert 0 < sum(absent for absent, _ in missing) < 40
    for absent, targets in missing:
        assert absent == bool(targets["hat"].item() or targets["headscarf"].item())


@pytest.mark.parametrize("name", STYLES)
def test_a_style_is_sound(name):
    style = STYLES[name]
    assert set(style.attributes) <= set(ATTRIBUTES) and len(set(ATTRIBUTES)) == len(ATTRIBUTES) == 40
    for attribute, (part, present) in style.attributes.items():
        absent = set(style.labels(part)) - set(present)
        assert set(present) <= set(style.labels(part)) and (absent or part in style.optional), attribute
    for part, hiding in style.hidden.items():
        assert style.labels(part)
        for other, values in hiding.items():
            assert set(values) <= set(style.labels(other))
    assert style.tasks[len(style.classes) :] == [name for name in ATTRIBUTES if name in style.attributes]


def test_attributes_mean_the_same_in_all_styles():
    assert set(AVATAAARS.attributes) == set(ATTRIBUTES)
    for attribute in ("glasses", "facial_hair", "beard", "long_hair", "smiling", "mouth_open", "dark_skin", "bald"):
        assert all(attribute in style.attributes for style in STYLES.values()), attribute
    for style in STYLES.values():
        part, dark = style.attributes["dark_skin"]
        for name, colour in style.palettes[part].colours.items():
            luma = np.dot([0.299, 0.587, 0.114], [*bytes.fromhex(colour[1:])])
            assert (luma < 128) == (name in dark), (style.name, colour)


@pytest.mark.parametrize("name", STYLES)
def test_creators_and_licences_are_those_of_the_definition(name):
    meta = json.loads(files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8"))["meta"]
    style = STYLES[name]
    hub_name = {"CC BY 4.0": "cc-by-4.0", "CC0 1.0": "cc0-1.0"}
    licence = meta["license"]["name"]
    assert style.license == hub_name.get(licence, licence.lower())
    assert style.url == meta["source"]["url"] and style.title == meta["source"]["name"]
    assert meta["creator"]["name"].startswith(style.creator)
    data = Avatars(style=name, images=1, size=16)
    assert (data.license, data.creator, data.url) == (style.license, style.creator, style.url)


def test_styles_mix():
    sources = [{"name": "Avatars", "args": {"style": name, "tasks": 10, "images": 2, "size": 16}} for name in STYLES]
    data = build_data(TrainingConfig(model="test_resnet_tsbn", data=sources, output="run"), "train")
    assert isinstance(data, Mixture) and data.sizes == [2, 2, 2, 2]
    assert [task.name for task in data.tasks] == list(ATTRIBUTES[:10])
    assert all(task.kind == "attributes" and task.num_classes == 1 for task in data.tasks)
    assert data[0]["targets"]["glasses"].shape == (1,)
    assert len(Avatars(images=1, size=16, tasks=40).tasks) == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid"}, 'split=\'valid\' is unknown. Known: "train", "test"'),
        ({"style": "bottts"}, "style='bottts' is unknown. Known: avataaars, micah, open-peeps, personas"),
        ({"size": 15}, "size=15 must be at least 16"),
        ({"images": 0}, "images=0 must be positive"),
        ({"tasks": 11}, "tasks=11: give names, or 10 or 40"),
        ({"tasks": ["top", "tip"]}, r"tasks=\['top', 'tip'\]: one or more of what avataaars has, each once: top, cl"),
        ({"tasks": "tip"}, r"tasks=\['tip'\]: one or more"),
        ({"tasks": ["top", "top"]}, "each once"),
        ({"tasks": []}, "one or more"),
        ({"tasks": ["top"], "style": "micah"}, "what micah has, each once: glasses, facial_hair"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Avatars(**{"images": 1, "size": 16, **arguments})


@pytest.mark.parametrize("index", [-1, 2])
def test_a_sample_that_there_is_not(index):
    with pytest.raises(IndexError, match=f"no sample {index}: the data set has 2"):
        Avatars(images=2, size=16)[index]


@pytest.mark.parametrize("library", ["dicebear_styles", "resvg_py"])
def test_without_the_libraries(monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r"dicebear-core, dicebear-styles and resvg-py: pip install 'tsbn_hub\[avat"):
        Avatars(images=1, size=16)


def test_a_version_that_draws_something_else():
    other = dataclasses.replace(AVATAAARS, options={**AVATAAARS.options, "top": ["bun", "quiff"], "wings": ["white"]})
    with pytest.raises(ValueError, match=r"dicebear-styles [\d.]+ has no \['top quiff', 'wings white'\] in avataaars"):
        check_installed(other)
