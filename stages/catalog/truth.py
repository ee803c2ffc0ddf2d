"""Reading ground truth: object ids of every wanted frame, as the rule in a catalog row's ``truth`` says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.catalog.davis import read_mask
from stages.catalog.ids import path_of
from stages.catalog.table import split_truth
from stages.outcome import MediaError


@dataclass(frozen=True)
class Truth:
    """Annotation of T frames.

    Attributes:
        ids: uint16 (T, H, W), object ids; 0 is background.
        void: bool (T, H, W), pixels that don't count; None where the data set has none.
    """

    ids: np.ndarray
    void: np.ndarray | None


def read_truth(root: str, row: Mapping[str, Any], frames: Sequence[int]) -> Truth:
    rule, uri = split_truth(row["truth"])
    folder = Path(path_of(root, uri))
    names = sorted(p for p in folder.glob("*.png"))
    ids, voids = [], []
    for f in frames:
        if f >= len(names):
            raise MediaError("unreadable", f"{row['truth']} has no annotation for frame {f}")
        a, v = read_mask(names[f], "2016" if rule == "davis2016" else "2017")
        ids.append(a)
        voids.append(v)
    return Truth(np.stack(ids).astype(np.uint16), np.stack(voids))
