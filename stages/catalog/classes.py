"""Names of the classes that data sets know. Light: plans and vocabularies read it."""

from __future__ import annotations

from types import MappingProxyType

from stages.errors import SettingsError
from stages.sprites.palette import COLOURS

IMAGENET_VID = MappingProxyType(
    {
        "n02691156": "airplane", "n02419796": "antelope", "n02131653": "bear", "n02834778": "bicycle",
        "n01503061": "bird", "n02924116": "bus", "n02958343": "car", "n02402425": "cattle",
        "n02084071": "dog", "n02121808": "domestic_cat", "n02503517": "elephant", "n02118333": "fox",
        "n02510455": "giant_panda", "n02342885": "hamster", "n02374451": "horse", "n02129165": "lion",
        "n01674464": "lizard", "n02484322": "monkey", "n03790512": "motorcycle", "n02324045": "rabbit",
        "n02509815": "red_panda", "n02411705": "sheep", "n01726692": "snake", "n02355227": "squirrel",
        "n02129604": "tiger", "n04468005": "train", "n01662784": "turtle", "n04530566": "watercraft",
        "n02062744": "whale", "n02391049": "zebra",
    }
)  # fmt: skip
"""ImageNet-VID: the 30 WordNet ids of its annotations and their names, in the order of the benchmark."""

YTVIS = (
    "person", "giant panda", "lizard", "parrot", "skateboard", "sedan", "ape", "dog", "snake", "monkey",
    "hand", "rabbit", "duck", "cat", "cow", "fish", "train", "horse", "turtle", "bear", "motorbike",
    "giraffe", "leopard", "fox", "deer", "owl", "surfboard", "airplane", "truck", "zebra", "tiger",
    "elephant", "snowboard", "boat", "shark", "mouse", "frog", "eagle", "earless seal", "tennis racket",
)  # fmt: skip
"""YouTube-VIS 2019: its 40 categories, in the order of their ids."""

_NAMES = {"imagenet_vid": tuple(IMAGENET_VID.values()), "sprites": tuple(COLOURS), "ytvis": YTVIS}


def class_names(kind: str) -> tuple[str, ...]:
    """The class names of the data sets with that ``data.kind``; class n of their boxes is the n-th, from 0.

    Names are spelled as VOL's vocabularies spell them: with underscores for ``imagenet_vid``, with spaces for
    ``ytvis``. Those of ``sprites`` are their colours.

    Raises:
        SettingsError: data sets of that kind have no named classes.
    """
    if kind not in _NAMES:
        raise SettingsError(
            f"data.kind={kind} has no classes of its own; {', '.join(sorted(_NAMES))} have: "
            "give the names to look for instead"
        )
    return _NAMES[kind]


def class_index(name: str, names: tuple[str, ...]) -> int | None:
    """Where ``name`` is among ``names``, case and underscores aside; None where it is not."""
    plain = [_plain(known) for known in names]
    return plain.index(_plain(name)) if _plain(name) in plain else None


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())
