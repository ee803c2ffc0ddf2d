"""Tubes on the patch grid, and their boxes as VOL publishes them."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco

from stages.artifacts.commit import commit
from stages.evaluation.found_tubes import FoundTubes, Layout, frame_boxes
from stages.labeling.naming import UNNAMED
from stages.metrics.tube_ap import MOST
from stages.outcome import Done
from stages.tubes.reader import TubeShard
from stages.tubes.writer import TubeFrame, TubeName, TubesWriter
from tests.stages.tubes.making import artifact_at

NATIVE, BORDERS = (20, 34), (2, 2, 1, 1)
LAYOUT = Layout(NATIVE, BORDERS, resized=(32, 64), grid=(2, 4), clip=2)
"""Patches of 8 x 8 pixels of the frame, 16 x 16 of the resized one."""


def rle(*patches: tuple[int, int]) -> str:
    """The mask that covers whole patches of the grid."""
    mask = np.zeros(NATIVE, np.uint8, order="F")
    for row, column in patches:
        mask[2 + 8 * row : 10 + 8 * row, 1 + 8 * column : 9 + 8 * column] = 1
    return coco.encode(mask)["counts"].decode()


def frames(*rows: tuple[int, int, str]) -> list[TubeFrame]:
    """From (tube, position, mask)."""
    return [TubeFrame(tube, t, counts, (0, 0, 1, 1), 64, 0.5) for tube, t, counts in rows]


SLIVER = coco.encode(np.asfortranarray(np.eye(*NATIVE, 30, dtype=np.uint8)))["counts"].decode()
"""Pixels that hold no patch's centre."""


def test_boxes_are_of_patches_in_the_resized_frame_without_one_added() -> None:
    found = FoundTubes.of_frames(frames((3, 0, rle((0, 1), (1, 2))), (5, 0, rle((0, 0)))))
    tubes, corners = frame_boxes(found, LAYOUT, 1)[0]
    assert tubes.tolist() == [3, 5]
    assert corners.tolist() == [[16, 0, 47, 31], [0, 0, 15, 15]]


def test_a_tube_has_a_box_in_all_frames_of_its_clip_and_in_no_other() -> None:
    rows = frames(
        (7, 1, rle((1, 3))), (2, 1, SLIVER), (2, 2, rle((0, 0))), (7, 3, rle((1, 3))), (2, 4, SLIVER)
    )
    every = frame_boxes(FoundTubes.of_frames(rows), LAYOUT, 5)
    assert [tubes.tolist() for tubes, _ in every] == [[7], [7], [2, 7], [2, 7], []]
    corner = [48, 16, 63, 31]
    assert [corners.tolist() for _, corners in every] == [
        [[0] * 4], [corner], [[0, 0, 15, 15], [0] * 4], [[0] * 4, corner], [],
    ]  # fmt: skip
    alone = Layout(NATIVE, BORDERS, (32, 64), (2, 4))
    assert [tubes.tolist() for tubes, _ in frame_boxes(FoundTubes.of_frames(rows), alone, 5)] == [
        [], [7], [2], [7], [],
    ]  # fmt: skip


def test_annotated_boxes_lose_the_borders_and_are_scaled() -> None:
    small = LAYOUT.shrunk(np.array([[1.0, 2, 9, 10], [0, 0, 33, 19]]))
    assert small.tolist() == [[0, 0, 16, 16], [-2, -4, 64, 34]]
    assert LAYOUT.shrunk(np.zeros((0, 4))).shape == (0, 4)


def test_layouts_are_read_off_outcomes() -> None:
    info = {"native": [20, 34], "borders": [2, 2, 1, 1], "size": [32, 64], "grid": [2, 4]}
    assert Layout.of({**info, "clip": 2}) == LAYOUT
    assert Layout.of(info).clip == 1


def test_stored_tubes_are_those_that_were_written(tmp_path) -> None:
    """Positions, scores weighted by pixels, names; without those that have none."""
    artifact = artifact_at(tmp_path / "tubes")
    writer = TubesWriter(artifact.shard("s"), "s")
    rows = [
        TubeFrame(4, 1, rle((0, 0)), (1, 2, 8, 8), 64, 0.5),
        TubeFrame(4, 2, rle((0, 0), (0, 1)), (1, 2, 16, 8), 128, 0.8),
        TubeFrame(9, 2, rle((1, 1)), (9, 10, 8, 8), 64, 0.25),
    ]
    names = {4: TubeName("dog", 0.75, classes=np.array([0.25, 0.75])), 9: TubeName(UNNAMED, None)}
    looked = np.array([3, 8, 13])
    writer.add("v", "named", NATIVE, looked, looked / 5, rows, names=names)
    writer.keep("v")
    commit(artifact, "s", writer.finish(), [Done("v")], "")
    table = TubeShard.open(artifact.root, "s").rows("v", "named")
    every = FoundTubes.of_rows(table, looked)
    assert (every.tubes.tolist(), every.positions.tolist()) == ([4, 4, 9], [1, 2, 2])
    assert every.labels == {4: "dog", 9: UNNAMED} and set(every.classes) == {4}
    assert every.scores == pytest.approx({4: (64 * 0.5 + 128 * 0.8) / 192, 9: 0.25})
    made = FoundTubes.of_frames(rows)
    assert made.scores == pytest.approx(every.scores) and list(made.rles) == list(every.rles)
    named = FoundTubes.of_rows(table, looked, without=UNNAMED)
    assert (named.tubes.tolist(), named.positions.tolist(), set(named.scores)) == ([4, 4], [1, 2], {4})
    assert len(named.rles) == 2


def test_the_best_tubes_are_taken() -> None:
    few = FoundTubes.of_frames(frames((1, 0, rle((0, 0))), (2, 1, rle((0, 1)))))
    first, second = few.as_tubes(3, NATIVE)
    assert [m is not None for m in first.masks] == [True, False, False]
    assert [m is not None for m in second.masks] == [False, True, False]
    assert first.areas().tolist() == [64, 0, 0] and first.score == 0.5
    many = FoundTubes(
        np.arange(MOST + 5), np.zeros(MOST + 5, np.int64), [rle((0, 0))] * (MOST + 5),
        {tube: tube / 1000 for tube in range(MOST + 5)},
    )  # fmt: skip
    assert [tube.score for tube in many.as_tubes(1, NATIVE)] == [t / 1000 for t in range(MOST + 4, 4, -1)]
    none = FoundTubes.of_frames([])
    assert none.as_tubes(2, NATIVE) == [] and len(frame_boxes(none, LAYOUT, 3)) == 3
