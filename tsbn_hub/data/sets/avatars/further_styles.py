"""Further styles, which share attributes with Avataaars. What they draw that is neither clearly, is left out."""

from .style import Palette, Style, words


def _by_value(*colours: str) -> dict[str, str]:
    return {colour: colour for colour in colours}


_MICAH = words("#d2eff3 #000000 #e0ddff #f4d150 #ac6651 #9287ff #ffeba4 #fc909f #ffedef #6bd9e9 #77311d #ffffff")

MICAH = Style(
    name="micah",
    title="Avatar Illustration System",
    creator="Micah Lanier",
    license="cc-by-4.0",
    url="https://www.figma.com/community/file/829741575478342595",
    options={
        "hair": words("dannyPhantom dougFunny fonze full mrClean mrT pixie turban"),
        "facialHair": words("beard scruff"),
        "glasses": words("round square"),
        "earrings": words("hoop stud"),
        "mouth": words("frown laughing nervous pucker sad smile smirk surprised"),
        "eyes": words("eyes eyesShadow round smiling smilingShadow"),
        "eyebrows": words("down eyelashesDown eyelashesUp up"),
        "nose": words("curve pointed tound"),
        "ears": words("attached detached"),
        "clothes": words("collared crew open"),
    },
    palettes={
        "baseColor": Palette(_by_value("#f9c9b6", "#ac6651", "#77311d")),
        "hairColor": Palette(_by_value(*_MICAH), unlike=["baseColor"]),
        "shirtColor": Palette(_by_value(*_MICAH), unlike=["baseColor", "hairColor"]),
        "glassesColor": Palette(_by_value(*_MICAH), unlike=["baseColor"]),
        "earringColor": Palette(_by_value(*_MICAH), unlike=["baseColor", "hairColor"]),
    },
    optional=["facialHair", "glasses", "earrings"],
    hidden={
        "hairColor": {"hair": ["dougFunny", "mrClean", "turban"]},
        "mouth": {"facialHair": ["beard"]},
    },
    attributes={
        "glasses": ("glasses", ["round", "square"]),
        "facial_hair": ("facialHair", ["beard", "scruff"]),
        "beard": ("facialHair", ["beard"]),
        "long_hair": ("hair", ["full"]),
        "smiling": ("mouth", ["laughing", "smile", "smirk"]),
        "mouth_open": ("mouth", ["laughing", "nervous", "surprised"]),
        "dark_skin": ("baseColor", ["#ac6651", "#77311d"]),
        "dark_hair": ("hairColor", ["#000000", "#77311d"]),
        "headscarf": ("hair", ["turban"]),
        "bald": ("hair", ["dougFunny", "mrClean"]),
        "frowning": ("mouth", ["frown", "sad"]),
        "grimacing": ("mouth", ["nervous"]),
        "eyes_closed": ("eyes", ["smiling", "smilingShadow"]),
    },
)

_PERSONAS_HAIR = _by_value("#362c47", "#f29c65", "#6c4545", "#f27d65", "#dee1f5", "#e16381", "#e15c66")

PERSONAS = Style(
    name="personas",
    title="Personas by Draftbit",
    creator="Draftbit",
    license="cc-by-4.0",
    url="https://personas.draftbit.com/",
    options={
        "hair": words(
            "bald balding beanie bobBangs bobCut bunUndercut buzzcut cap curly curlyBun curlyHighTop extraLong fade "
            "long mohawk pigtails shortCombover shortComboverChops sideShave straightBun"
        ),
        "facialHair": words("beardMustache goatee pyramid shadow walrus"),
        "eyes": words("glasses happy open sleep sunglasses wink"),
        "mouth": words("bigSmile frown smile smirk surprise"),
        "nose": words("mediumRound smallRound wrinkles"),
        "clothes": words("checkered rounded small squared"),
    },
    palettes={
        "skinColor": Palette(_by_value("#eeb4a4", "#e7a391", "#e5a07e", "#d78774", "#b16a5b", "#92594b", "#623d36")),
        "hairColor": Palette(_PERSONAS_HAIR, unlike=["skinColor"]),
        "facialHairColor": Palette(_PERSONAS_HAIR, unlike=["skinColor"]),
        "clothingColor": Palette(
            _by_value("#456dff", "#6dbb58", "#f55d81", "#7555ca", "#e24553", "#54d7c7", "#f3b63a"), unlike=["skinColor"]
        ),
    },
    optional=["facialHair"],
    hidden={
        "hairColor": {"hair": ["bald", "beanie", "buzzcut", "cap"]},
        "mouth": {"facialHair": ["beardMustache"]},
    },
    attributes={
        "glasses": ("eyes", ["glasses", "sunglasses"]),
        "facial_hair": ("facialHair", ["beardMustache", "goatee", "pyramid", "shadow", "walrus"]),
        "beard": ("facialHair", ["beardMustache", "goatee"]),
        "moustache": ("facialHair", ["pyramid", "walrus"]),
        "hat": ("hair", ["beanie", "cap"]),
        "long_hair": ("hair", ["bobBangs", "bobCut", "extraLong", "long", "sideShave"]),
        "smiling": ("mouth", ["bigSmile", "smile", "smirk"]),
        "mouth_open": ("mouth", ["bigSmile", "surprise"]),
        "dark_skin": ("skinColor", ["#b16a5b", "#92594b", "#623d36"]),
        "dark_hair": ("hairColor", ["#362c47", "#6c4545"]),
        "sunglasses": ("eyes", ["sunglasses"]),
        "bald": ("hair", ["bald", "balding"]),
        "curly_hair": ("hair", ["curly", "curlyBun", "curlyHighTop"]),
        "bun": ("hair", ["bunUndercut", "curlyBun", "straightBun"]),
        "grey_hair": ("hairColor", ["#dee1f5"]),
        "frowning": ("mouth", ["frown"]),
    },
)

OPEN_PEEPS = Style(
    name="open-peeps",
    title="Open Peeps",
    creator="Pablo Stanley",
    license="cc0-1.0",
    url="https://www.openpeeps.com/",
    options={
        "head": words(
            "afro bangs bangs2 bantuKnots bun bun2 buns dreads1 dreads2 flatTop flatTopLong grayBun grayShort "
            "hatBeanie hatHip hijab long longAfro longBangs longCurly medium2 medium3 mediumBangs mediumBangs3 "
            "mediumStraight mohawk noHair1 noHair2 noHair3 pomp short1 short2 short4 short5 turban twists twists2"
        ),
        "facialHair": words(
            "chin full full2 full3 full4 goatee1 goatee2 moustache2 moustache3 moustache5 moustache6 moustache7 "
            "moustache9"
        ),
        "accessories": words("eyepatch glasses glasses2 glasses3 glasses4 glasses5 sunglasses sunglasses2"),
        "expression": words(
            "angryWithFang blank calm concerned concernedFear explaining lovingGrin1 lovingGrin2 rage serious smile "
            "smileBig smileLOL smileTeethGap solemn suspicious tired veryAngry"
        ),
        "mask": [],
    },
    palettes={
        "skinColor": Palette(_by_value("#ffdbb4", "#edb98a", "#d08b5b", "#ae5d29", "#694d3d")),
        "clothingColor": Palette(
            _by_value("#8fa7df", "#78e185", "#ffcf77", "#e279c7", "#e78276", "#9ddadb", "#fdea6b"), unlike=["skinColor"]
        ),
        "headContrastColor": Palette(_by_value("#2c1b18", "#724133", "#c93305"), unlike=["skinColor"]),
    },
    optional=["facialHair", "accessories"],
    hidden={
        "expression": {"facialHair": words("full2 full3 full4 goatee1 moustache2 moustache3 moustache5 moustache9")},
    },
    attributes={
        "glasses": ("accessories", words("glasses glasses2 glasses3 glasses4 glasses5 sunglasses sunglasses2")),
        "facial_hair": (
            "facialHair",
            words(
                "chin full full2 full3 full4 goatee1 goatee2 moustache2 moustache3 moustache5 moustache6 moustache7 "
                "moustache9"
            ),
        ),
        "beard": ("facialHair", words("chin full full2 full3 full4 goatee1 goatee2")),
        "moustache": ("facialHair", words("moustache2 moustache3 moustache5 moustache6 moustache7 moustache9")),
        "hat": ("head", ["hatBeanie", "hatHip"]),
        "long_hair": (
            "head",
            words(
                "bangs bangs2 long longAfro longBangs longCurly medium2 medium3 mediumBangs mediumBangs3 mediumStraight"
            ),
        ),
        "smiling": ("expression", words("calm lovingGrin1 lovingGrin2 smile smileBig smileLOL smileTeethGap")),
        "mouth_open": (
            "expression",
            words("concerned concernedFear explaining lovingGrin1 lovingGrin2 rage smileBig smileLOL smileTeethGap"),
        ),
        "dark_skin": ("skinColor", ["#ae5d29", "#694d3d"]),
        "sunglasses": ("accessories", ["sunglasses", "sunglasses2"]),
        "eyepatch": ("accessories", ["eyepatch"]),
        "headscarf": ("head", ["hijab", "turban"]),
        "bald": ("head", ["noHair1", "noHair2", "noHair3"]),
        "curly_hair": ("head", ["afro", "longAfro", "longCurly"]),
        "bun": ("head", ["bun", "bun2", "buns", "grayBun"]),
        "fringe": ("head", ["bangs", "bangs2", "longBangs", "mediumBangs", "mediumBangs3"]),
    },
)
