"""How often a trained CLIP finds the right word: what its training leaves behind. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from stages.artifacts import whole
from stages.artifacts.place import Place, place

ACCURACY_JSON = "accuracy.json"


@dataclass(frozen=True)
class Accuracy:
    """Share of held-out crops that get the right word, and what it is worth.

    Attributes:
        right: share of crops of which the nearest prompt is the right one.
        chance: of guessing evenly.
        majority: of always giving the most frequent answer.
    """

    right: float
    chance: float
    majority: float


def write_accuracy(folder: Path, found: Mapping[str, Accuracy]) -> None:
    """Write ``accuracy.json`` into ``folder``."""
    content = {name: asdict(accuracy) for name, accuracy in found.items()}
    (folder / ACCURACY_JSON).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_accuracy(artifact: str | Place) -> dict[str, Accuracy]:
    """By kind of word, from the artifact of a fit stage; empty where there is none (yet)."""
    found = whole.files(place(artifact))
    if found is None or not (found / ACCURACY_JSON).is_file():
        return {}
    content = json.loads((found / ACCURACY_JSON).read_text(encoding="utf-8"))
    return {name: Accuracy(**values) for name, values in content.items()}
