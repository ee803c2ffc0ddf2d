"""What exported tubes are filed under: the names of a vocabulary, or one category for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stages.labeling.vocabulary import UNNAMED

OBJECT = "object"
"""Category of a tube that no stage has named; and what all categories are kinds of."""
UNNAMED_ID = 0
"""Id of the category of tubes that no name fits: many tools take 0 for what is no class."""


class Categories:
    """Ids of labels, from 1: first ``names`` in their order, then others in order of appearance.

    Args:
        names: of the vocabulary; () where nothing was named.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._ids = {name: number for number, name in enumerate(names, start=1)}

    def of(self, label: str | None) -> int:
        """The id of a tube's label."""
        if label == UNNAMED and label not in self._ids:
            self._ids[label] = UNNAMED_ID
        name = label or OBJECT
        return self._ids.setdefault(name, sum(1 for number in self._ids.values() if number) + 1)

    def entries(self) -> list[dict[str, Any]]:
        """The list of COCO, by id: the vocabulary, and what else was asked for; never empty."""
        known = sorted((number, name) for name, number in self._ids.items()) or [(1, OBJECT)]
        return [{"id": number, "name": name, "supercategory": OBJECT} for number, name in known]
