"""Vocabularies: the names looked for, and names of background that draw away what is none of them.

Imports no torch: plans read vocabularies.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.errors import SettingsError

REST = "__background__"
"""The name at index 0 of every vocabulary: a candidate like the targets, but not one of them (VOL 1.5.6)."""

UNNAMED = "unnamed"
"""The name of a mask that no target fits."""

_STUFF = """
    banner, blanket, branch, bridge, building, bush, cabinet, cage, cardboard, carpet, ceiling,
    tile ceiling, cloth, clothes, clouds, counter, cupboard, curtain, desk, dirt, door, fence, marble floor,
    stone floor, tile floor, wood floor, flower, fog, food, fruit, furniture, grass, gravel, ground, hill,
    house, leaves, light, mat, metal, mirror, moss, mountain, mud, napkin, net, paper, pavement, pillow,
    plant, plastic, platform, playingfield, river, road, rock, roof, rug, salad, sand, sea, shelf, sky,
    skyscraper, snow, solid, stairs, stone, straw, table, tent, textile, towel, tree, vegetable, brick wall,
    concrete wall, panel wall, stone wall, tile wall, wood wall, water, waterdrops, blind window, window,
    wood
"""

BACKGROUND: tuple[str, ...] = tuple(name.strip() for name in _STUFF.split(","))
"""The 86 names of COCO-stuff that VOL uses (methods sheet 13)."""

CLASSES = "classes"
"""As a vocabulary's setting: the classes of the data set."""
STUFF = "stuff"
"""As a background's setting: `BACKGROUND`."""
NONE = "none"
"""As a background's setting: no names of background."""

_TABLES = (".csv", ".tsv", ".json", ".yaml", ".yml")
"""Endings of files that are no list of names."""

Entry = tuple[str, str]
"""Where a name was given, as an error tells it, and the name."""


@dataclass(frozen=True)
class Vocabulary:
    """Target and background names; its fields are what a fingerprint needs of them.

    White space within a name is collapsed; otherwise names stay as they are. Two names are the same where
    they differ in case, in white space, or in underscores for spaces. A background name that is the same as a
    target is left out of the background.

    Attributes:
        names: the targets, at least one.
        background: may be empty.

    Raises:
        SettingsError: no target, or an empty or repeated entry.
    """

    names: tuple[str, ...]
    background: tuple[str, ...] = BACKGROUND

    def __post_init__(self) -> None:
        names = _checked(_numbered("vocabulary", self.names))
        targets = {_folded(name) for name in names}
        background = _checked(_numbered("background", self.background))
        if not names:
            raise SettingsError(
                "the vocabulary has no names: give a comma list, or a text file with one a line"
            )
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "background", tuple(n for n in background if _folded(n) not in targets))

    @property
    def texts(self) -> tuple[str, ...]:
        """All names in the order of text features: `REST`, the targets (1..n), the background."""
        return (REST, *self.names, *self.background)

    @property
    def targets(self) -> int:
        """How many targets there are (n)."""
        return len(self.names)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all names in their order."""
        text = json.dumps([self.names, self.background], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def read_vocabulary(
    names: str | Sequence[str],
    background: str | Sequence[str] = STUFF,
    classes: Sequence[str] | None = None,
) -> Vocabulary:
    """The vocabulary that settings ask for.

    Args:
        names: a comma list (``people,dogs,cars``), a text file (a path that ends in ``.txt``; UTF-8, one name
            a line), `CLASSES`, or a sequence of names.
        background: the same without `CLASSES`; `STUFF` or `NONE` too.
        classes: names of the data set's classes; None where it has none.

    Raises:
        SettingsError: an empty or repeated entry, a file that can't be read, or no classes.
    """
    if names == CLASSES and classes is None:
        raise SettingsError(
            f"vocabulary={CLASSES}: this data set names no classes; give a comma list or a file"
        )
    targets = classes if names == CLASSES and classes is not None else _read("vocabulary", names)
    if background in (STUFF, NONE):
        return Vocabulary(tuple(targets), BACKGROUND if background == STUFF else ())
    return Vocabulary(tuple(targets), _read("background", background))


def _read(what: str, given: str | Sequence[str]) -> tuple[str, ...]:
    """The names of a setting, checked where they were given: an error can tell the file's line."""
    if not isinstance(given, str):
        return tuple(given)
    if given.strip().endswith(".txt") and "," not in given:
        return _checked(_lines(Path(given.strip()).expanduser()))
    if given.strip().startswith("["):
        raise SettingsError(f"{what}={given}: give the names without brackets, {what}=people,dogs,cars")
    if "," not in given and _is_file(given):
        raise SettingsError(f"{what}={given} is a file: give it a name that ends in .txt, one name a line")
    return _checked(_numbered(what, given.split(",")))


def _is_file(given: str) -> bool:
    """Whether what should be a name is the path of a file, or looks like one."""
    path = Path(given.strip()).expanduser()
    return path.suffix.lower() in _TABLES or (len(path.parts) > 1 and path.is_file())


def _lines(path: Path) -> list[Entry]:
    """The lines of a file; blank ones at its end do not count."""
    try:
        text = path.read_text(encoding="utf-8-sig").rstrip()
    except OSError as error:
        raise SettingsError(f"can't read the names in {path}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"the names in {path} are not UTF-8 text: save it as UTF-8") from error
    if not text:
        raise SettingsError(f"{path} has no names: give one a line")
    return [(f"{path} line {number}", line) for number, line in enumerate(text.split("\n"), 1)]


def _numbered(what: str, names: Iterable[str]) -> list[Entry]:
    return [(f"{what} entry {number}", name) for number, name in enumerate(names, 1)]


def _checked(entries: Iterable[Entry]) -> tuple[str, ...]:
    """The names with white space collapsed.

    Raises:
        SettingsError: one is empty, repeats an earlier one, or is `REST`.
    """
    seen: dict[str, str] = {}
    names = []
    for where, given in entries:
        name = " ".join(given.split())
        if not _folded(name):
            raise SettingsError(f"{where} is empty: remove it or give a name")
        if name.casefold() == REST:
            raise SettingsError(f"{where} is {REST}, which every vocabulary has of itself: remove it")
        if earlier := seen.get(_folded(name)):
            raise SettingsError(f"{where} ({name!r}) repeats {earlier}: remove one of them")
        seen[_folded(name)] = where
        names.append(name)
    return tuple(names)


def _folded(name: str) -> str:
    """What two spellings of one name have in common."""
    return " ".join(unicodedata.normalize("NFKC", name).replace("_", " ").casefold().split())
