"""Avataaars, the style of eight tasks with many classes and of 40 attributes."""

from .style import Palette, Style, words

_HATS = words("hat winterHat02 winterHat03 winterHat04 winterHat1")
_SCARVES = words("hijab turban")
_DARK_GLASSES = words("kurt sunglasses wayfarers")

# The names are those of Avataaars' own generator.
_FABRICS = {
    "black": "#262e33", "blue01": "#65c9ff", "blue02": "#5199e4", "blue03": "#25557c", "gray01": "#e6e6e6",
    "gray02": "#929598", "heather": "#3c4f5c", "pastelBlue": "#b1e2ff", "pastelGreen": "#a7ffc4",
    "pastelOrange": "#ffdeb5", "pastelRed": "#ffafb9", "pastelYellow": "#ffffb1", "pink": "#ff488e", "red": "#ff5c5c",
    "white": "#ffffff",
}  # fmt: skip
_HAIR = {
    "auburn": "#a55728", "black": "#2c1b18", "blonde": "#b58143", "blondeGolden": "#d6b370", "brown": "#724133",
    "brownDark": "#4a312c", "pastelPink": "#f59797", "platinum": "#ecdcbf", "red": "#c93305", "silverGray": "#e8e1e1",
}  # fmt: skip
_SKIN = {
    "tanned": "#fd9841", "yellow": "#f8d25c", "pale": "#ffdbb4", "light": "#edb98a", "brown": "#d08b5b",
    "darkBrown": "#ae5d29", "black": "#614335",
}  # fmt: skip

AVATAAARS = Style(
    name="avataaars",
    title="Avataaars",
    creator="Pablo Stanley",
    license="free for personal and commercial use",
    url="https://avataaars.com/",
    options={
        "top": words(
            "bigHair bob bun curly curvy dreads dreads01 dreads02 frida frizzle fro froBand hat hijab "
            "longButNotTooLong miaWallace shaggy shaggyMullet shavedSides shortCurly shortFlat shortRound shortWaved "
            "sides straight01 straight02 straightAndStrand theCaesar theCaesarAndSidePart turban winterHat02 "
            "winterHat03 winterHat04 winterHat1"
        ),
        "accessories": words("eyepatch kurt prescription01 prescription02 round sunglasses wayfarers"),
        "clothes": words(
            "blazerAndShirt blazerAndSweater collarAndSweater graphicShirt hoodie overall shirtCrewNeck shirtScoopNeck "
            "shirtVNeck"
        ),
        "clothesGraphic": words("bat bear cumbia deer diamond hola pizza resist skull skullOutline"),
        "eyebrows": words(
            "angry angryNatural default defaultNatural flatNatural frownNatural raisedExcited raisedExcitedNatural "
            "sadConcerned sadConcernedNatural unibrowNatural upDown upDownNatural"
        ),
        "eyes": words("closed cry default eyeRoll happy hearts side squint surprised wink winkWacky xDizzy"),
        "facialHair": words("beardLight beardMajestic beardMedium moustacheFancy moustacheMagnum"),
        "mouth": words("concerned default disbelief eating grimace sad screamOpen serious smile tongue twinkle vomit"),
    },
    palettes={
        "skinColor": Palette(_SKIN),
        "hairColor": Palette(_HAIR, unlike=["skinColor"]),
        "facialHairColor": Palette(_HAIR, unlike=["skinColor"]),
        "clothesColor": Palette(_FABRICS, unlike=["skinColor"]),
        "hatColor": Palette(_FABRICS, unlike=["skinColor"]),
        "accessoriesColor": Palette(_FABRICS, unlike=["skinColor"]),
    },
    optional=["accessories", "facialHair"],
    hidden={
        "hairColor": {"top": [*_HATS, *_SCARVES]},
        "eyes": {"accessories": ["eyepatch", *_DARK_GLASSES]},
        "eyebrows": {"accessories": _DARK_GLASSES, "top": ["miaWallace", "shaggy", "winterHat03", "winterHat04"]},
        "clothes": {"top": ["hijab"]},
    },
    classes={
        "top": "top",
        "clothes_colour": "clothesColor",
        "eyes": "eyes",
        "mouth": "mouth",
        "clothes": "clothes",
        "skin": "skinColor",
        "brows": "eyebrows",
        "hair_colour": "hairColor",
    },
    attributes={
        "glasses": ("accessories", ["prescription01", "prescription02", "round", *_DARK_GLASSES]),
        "facial_hair": ("facialHair", words("beardLight beardMajestic beardMedium moustacheFancy moustacheMagnum")),
        "beard": ("facialHair", words("beardLight beardMajestic beardMedium")),
        "moustache": ("facialHair", words("moustacheFancy moustacheMagnum")),
        "hat": ("top", _HATS),
        "long_hair": (
            "top",
            words(
                "bigHair bob curvy dreads longButNotTooLong miaWallace shavedSides straight01 straight02 "
                "straightAndStrand"
            ),
        ),
        "smiling": ("mouth", words("default smile tongue twinkle")),
        "mouth_open": ("mouth", words("concerned default disbelief grimace screamOpen smile tongue vomit")),
        "dark_skin": ("skinColor", ["darkBrown", "black"]),
        "dark_hair": ("hairColor", ["black", "brown", "brownDark"]),
        "sunglasses": ("accessories", _DARK_GLASSES),
        "eyepatch": ("accessories", ["eyepatch"]),
        "headscarf": ("top", _SCARVES),
        "bald": ("top", ["sides"]),
        "curly_hair": ("top", words("curly fro froBand shortCurly")),
        "bun": ("top", ["bun"]),
        "fringe": ("top", words("curvy longButNotTooLong miaWallace straightAndStrand")),
        "blond_hair": ("hairColor", ["blonde", "blondeGolden", "platinum"]),
        "red_hair": ("hairColor", ["auburn", "red"]),
        "grey_hair": ("hairColor", ["silverGray"]),
        "light_skin": ("skinColor", ["pale"]),
        "frowning": ("mouth", words("concerned disbelief sad")),
        "grimacing": ("mouth", ["grimace"]),
        "tongue_out": ("mouth", ["tongue"]),
        "eating": ("mouth", ["eating"]),
        "screaming": ("mouth", ["screamOpen"]),
        "eyes_closed": ("eyes", ["closed", "happy"]),
        "winking": ("eyes", ["wink", "winkWacky"]),
        "crying": ("eyes", ["cry"]),
        "wide_eyes": ("eyes", ["eyeRoll", "squint", "surprised"]),
        "heart_eyes": ("eyes", ["hearts"]),
        "dizzy": ("eyes", ["xDizzy"]),
        "angry_brows": ("eyebrows", ["angry", "angryNatural"]),
        "raised_brows": ("eyebrows", ["raisedExcited", "raisedExcitedNatural"]),
        "worried_brows": ("eyebrows", ["frownNatural", "sadConcerned", "sadConcernedNatural"]),
        "hoodie": ("clothes", ["hoodie"]),
        "blazer": ("clothes", ["blazerAndShirt", "blazerAndSweater"]),
        "graphic_shirt": ("clothes", ["graphicShirt"]),
        "blue_clothes": ("clothesColor", ["blue01", "blue02", "blue03", "pastelBlue"]),
        "dark_clothes": ("clothesColor", ["black", "blue03", "heather"]),
    },
)
