"""What a candidate found in a video: masks by tube and frame, and the boxes around them on the patch grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from stages.discovery.video import frame_layout
from stages.labeling.boxes import boxes
from stages.metrics.average_precision import ranked
from stages.metrics.tube_ap import MOST, Tube
from stages.tubes.patches import patch_masks
from stages.tubes.table import tubes_of

if TYPE_CHECKING:
    from stages.tubes.writer import TubeFrame


@dataclass(frozen=True)
class Layout:
    """How the frames of a video were seen.

    Attributes:
        native: height and width of the upright frame, in pixels.
        borders: what was cut off it: top, bottom, left, right.
        resized: height and width of what the backbone saw of the rest.
        grid: rows and columns of its patches.
        clip: frames, counted from the first, that share their slots.
    """

    native: tuple[int, int]
    borders: tuple[int, int, int, int]
    resized: tuple[int, int]
    grid: tuple[int, int]
    clip: int = 1

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Layout:
        """From the outcome of a stage of tubes."""
        native, borders = frame_layout(info)
        (height, width), (rows, columns) = info["size"], info["grid"]
        return cls(native, borders, (height, width), (rows, columns), int(info.get("clip", 1)))

    def shrunk(self, corners: np.ndarray) -> np.ndarray:
        """Boxes (n, 4) in pixels of the upright frame, in those of the resized one; nothing is clipped."""
        top, bottom, left, right = self.borders
        inner = (self.native[0] - top - bottom, self.native[1] - left - right)
        ratios = np.array([self.resized[1] / inner[1], self.resized[0] / inner[0]] * 2)
        small: np.ndarray = (corners - (left, top, left, top)) * ratios
        return small


@dataclass(frozen=True)
class FoundTubes:
    """Tubes of one kind of masks, n rows of a tube in a frame.

    Attributes:
        tubes: int64 (n,), numbers of tubes.
        positions: int64 (n,), of frames among the video's.
        rles: compressed counts of COCO for the whole upright frame, n of them.
        scores: confidence by tube.
        classes: probabilities of the rest and of every target, (1 + targets,), by tube; none for tubes that
            nobody has looked at.
        labels: names by tube; none where nothing was named.
    """

    tubes: np.ndarray
    positions: np.ndarray
    rles: Sequence[str]
    scores: Mapping[int, float]
    classes: Mapping[int, np.ndarray] = field(default_factory=dict)
    labels: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of_rows(cls, rows: pa.Table, frames: np.ndarray, without: str | None = None) -> FoundTubes:
        """From stored rows of one kind of masks.

        Args:
            rows: of `stages.tubes.table.TUBES_SCHEMA`.
            frames: indices in the source of the video's frames, rising.
            without: a label; tubes that have it are left out.
        """
        facts = {row["tube"]: row for row in tubes_of(rows).drop(["slot", "top"]).to_pylist()}
        facts = {tube: row for tube, row in facts.items() if without is None or row["label"] != without}
        tubes = rows["tube"].to_numpy().astype(np.int64)
        kept = np.isin(tubes, list(facts))
        return cls(
            tubes[kept],
            np.searchsorted(frames, rows["frame"].to_numpy()[kept]),
            rows["rle"].filter(pa.array(kept)).to_pylist(),
            {tube: row["score"] for tube, row in facts.items()},
            {tube: np.array(row["classes"]) for tube, row in facts.items() if row["classes"] is not None},
            {tube: row["label"] for tube, row in facts.items() if row["label"] is not None},
        )

    @classmethod
    def of_frames(cls, found: Sequence[TubeFrame]) -> FoundTubes:
        """From the masks of a method that was just run."""
        tubes = np.array([row.tube for row in found], np.int64)
        areas = np.array([row.area for row in found], np.float64)
        sums = np.array([row.score for row in found], np.float64) * areas
        scores = {
            tube: float(sums[tubes == tube].sum() / areas[tubes == tube].sum())
            for tube in np.unique(tubes).tolist()
        }
        positions = np.array([row.position for row in found], np.int64)
        return cls(tubes, positions, [row.rle for row in found], scores)

    def as_tubes(self, frames: int, size: tuple[int, int]) -> list[Tube]:
        """The best `MOST` tubes for protocols on tubes, those with the lower number first where equal."""
        numbers = np.array(sorted(self.scores), np.int64)
        best = numbers[ranked(np.array([self.scores[n] for n in numbers.tolist()]))[:MOST]]
        masks: dict[int, list[dict[str, Any] | None]] = {tube: [None] * frames for tube in best.tolist()}
        for tube, position, rle in zip(self.tubes.tolist(), self.positions.tolist(), self.rles, strict=True):
            if tube in masks:
                masks[tube][position] = {"size": list(size), "counts": rle.encode("ascii")}
        return [Tube(masks[tube], self.scores[tube]) for tube in best.tolist()]


def frame_boxes(found: FoundTubes, layout: Layout, frames: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The boxes of every frame as VOL publishes them: tubes int64 (M,) rising, corners int64 (M, 4).

    Corners are those of `stages.labeling.boxes` in the resized frame. A tube that is somewhere in a clip has
    a box in all frames of the clip: (0, 0, 0, 0) where it has no patch.
    """
    order = np.lexsort((found.tubes, found.positions))
    stops = np.searchsorted(found.positions[order], np.arange(frames + 1))
    seen = [_present(found, order[stops[t] : stops[t + 1]], layout) for t in range(frames)]
    result = []
    for start in range(0, frames, layout.clip):
        clip = seen[start : start + layout.clip]
        tubes = np.unique(np.concatenate([present for present, _ in clip]))
        for present, corners in clip:
            every = np.zeros((len(tubes), 4), np.int64)
            every[np.searchsorted(tubes, present)] = corners
            result.append((tubes, every))
    return result


def _present(found: FoundTubes, rows: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """The tubes of one frame that have a patch there, and their boxes."""
    rles = [found.rles[i] for i in rows.tolist()]
    masks = patch_masks(rles, layout.native, layout.borders, layout.grid)
    there = masks.any(axis=(1, 2))
    return found.tubes[rows[there]], boxes(masks[there][:, None], layout.resized)[0]
