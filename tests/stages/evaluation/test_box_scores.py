"""Scores in protocols on boxes and tubes of a real run without names, against a direct computation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.artifacts.layout import Artifact
from stages.discovery.registry import METHODS
from stages.evaluation.score_rows import current_evidence, current_scores
from stages.evaluation.scores_stage import ScoresStage
from stages.evaluation.spec import MetricsSpec
from stages.metrics.average_precision import match_boxes, mean_ap
from stages.metrics.box_protocols import pooled
from stages.metrics.boxes import BoxFrame
from stages.metrics.corloc import detected_objects, localised_frames
from stages.metrics.slot_types import slot_types
from stages.metrics.tube_ap import Tube, average_precision, match_tubes
from stages.outcome import Outcome, Rejected
from stages.stage import WorkContext
from stages.tubes.reader import TubeStore
from tests.measured import GOOD, SIZE, Measured
from tests.stages.evaluation.making import figures_of, process
from tests.stages.evaluation.test_scores_worker import masks, name_of
from tests.stages.labeling.named import items
from tests.stages.metrics.making_boxes import coco

STRIDE = 4
BOXES = ("corloc@vol", "decrate@vol-pooled", "map50@vol", "bg@vol", "ap50@ytvis-agnostic")


@pytest.fixture(scope="module")
def scored(measured: Measured, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, list[Outcome]]:
    tubes = Artifact.at(measured.artifact("tubes"))
    stage = ScoresStage(
        MetricsSpec((*BOXES, "mbo@frame"), ("one", "blocks")), (METHODS["one"](), METHODS["blocks"]())
    )
    inputs = {kind: str(measured.artifact(kind)) for kind in ("catalog", "features", "tubes")}
    folder = tmp_path_factory.mktemp("scored")
    context = WorkContext(str(measured.data), folder, inputs=inputs)
    return process(stage, items(tubes, tubes.committed()[0]), context, folder)


def direct(labels: np.ndarray, scores: dict[int, float], ids: np.ndarray) -> list[BoxFrame]:
    """Boxes from label maps, in loops: pixel (4 i + 2, 4 j + 2) is patch (i, j)."""
    frames = []
    for tubes, objects in zip(labels[:, 2::STRIDE, 2::STRIDE], ids, strict=True):
        found = []
        for tube in np.unique(tubes):
            rows, columns = np.nonzero(tubes == tube)
            first, last = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
            found.append([*(STRIDE * v for v in first), *(STRIDE * v - 1 for v in last)])
        truth = [
            [columns.min(), rows.min(), columns.max(), rows.max()]
            for rows, columns in (np.nonzero(objects == number) for number in np.unique(objects[objects > 0]))
        ]
        table = np.array([[scores[tube]] for tube in np.unique(tubes).tolist()])
        frames.append(BoxFrame(np.array(truth), np.zeros(len(truth), int), np.array(found), table))
    return frames


def test_figures_equal_a_direct_computation(
    measured: Measured, scored: tuple[Artifact, list[Outcome]], tmp_path: Path
) -> None:
    """On the tubes that the run stored and the masks that lie beside its videos, of all videos at once; a
    video without an object is among them."""
    store, frames = TubeStore(measured.artifact("tubes")), []
    videos = [v for v in store.videos() if name_of(v) in (*GOOD, "nothing")]
    for video in sorted(videos):
        table = store.tubes(video, "decoder")
        scores = dict(zip(table["tube"].to_pylist(), table["score"].to_pylist(), strict=True))
        frames += direct(store.label_map(video, "decoder"), scores, masks(measured, name_of(video)))
    content = figures_of(scored[0], (*BOXES, "mbo@frame"), tmp_path / "metrics")
    found = content["values"]["decoder"]
    assert content["primary"] == "corloc@vol" and content["videos"] == len(GOOD) + 1
    assert found["corloc@vol"] == pytest.approx(localised_frames(frames).mean())
    assert found["decrate@vol-pooled"] == pytest.approx(detected_objects(frames).mean())
    assert found["map50@vol"] == pytest.approx(mean_ap(match_boxes(frames)))
    assert found["bg@vol"] == pytest.approx((slot_types(frames) == 3).mean())
    assert found["mbo@frame"] is not None
    for name in BOXES:
        for candidate, arrays in current_evidence(scored[0].root, name).items():
            assert content["values"][candidate][name] == pooled(name, arrays)


def test_tubes_are_scored_by_their_confidence(
    measured: Measured, scored: tuple[Artifact, list[Outcome]], tmp_path: Path
) -> None:
    store, parts = TubeStore(measured.artifact("tubes")), []

    def tube(pixels: np.ndarray, score: float = 1.0) -> Tube:
        found = [coco.encode(np.asfortranarray(m.astype(np.uint8))) if m.any() else None for m in pixels]
        return Tube(found, score)

    for video in sorted(v for v in store.videos() if name_of(v) in (*GOOD, "nothing")):
        table, ids = store.tubes(video, "attention"), masks(measured, name_of(video))
        pixels = store.shard(video).masks(video, "attention")
        scores = dict(zip(table["tube"].to_pylist(), table["score"].to_pylist(), strict=True))
        found = [tube(pixels[number], scores[number]) for number in sorted(pixels)]
        parts.append(match_tubes(found, [tube(ids == n) for n in np.unique(ids[ids > 0])]))
    values = figures_of(scored[0], BOXES, tmp_path / "metrics")["values"]["attention"]
    expected = average_precision(type(parts[0]).joined(parts, 10), [0])
    assert values["ap50@ytvis-agnostic"] == pytest.approx(expected)


def test_trivial_rows_have_boxes(measured: Measured, scored: tuple[Artifact, list[Outcome]]) -> None:
    """One segment is a box around the frame; the four blocks each localise an object where they do."""
    frames = []
    for video in sorted(v for v in TubeStore(measured.artifact("tubes")).videos() if name_of(v) in GOOD):
        ids = masks(measured, name_of(video))
        frames += direct(np.zeros_like(ids, int), {0: 1.0}, ids)
    rows = current_evidence(scored[0].root, "decrate@vol-pooled")["one"]
    np.testing.assert_array_equal(np.concatenate(rows)[:, 0], detected_objects(frames))
    assert frames[0].boxes.tolist() == [[0, 0, SIZE[1] - 1, SIZE[0] - 1]]


def test_a_video_without_an_object_only_costs(scored: tuple[Artifact, list[Outcome]]) -> None:
    """It is not skipped: what is found there is wrong, and its own figure is null."""
    rows = [r for r in current_scores(scored[0].root).to_pylist() if name_of(r["video"]) == "nothing"]
    assert {r["protocol"] for r in rows} == {"map50@vol", "bg@vol", "ap50@ytvis-agnostic"}
    assert {r["value"] for r in rows if r["protocol"] == "map50@vol"} == {None}
    rejected = [o for o in scored[1] if isinstance(o, Rejected)]
    assert [name_of(o.video) for o in rejected] == ["other <b> size"]
