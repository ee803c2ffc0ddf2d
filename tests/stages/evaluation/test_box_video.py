"""Ground truth and vocabularies put together, and box-only ground truth through the worker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages.artifacts.layout import Artifact
from stages.catalog.boxes import NO_CLASS, BoxTruth, FrameBoxes
from stages.catalog.listing import list_items
from stages.catalog.spec import DataSpec
from stages.catalog.stage import CatalogStage
from stages.decode.spec import DecodeSpec, Geometry
from stages.discovery.registry import METHODS
from stages.discovery.tubes_stage import TubesStage
from stages.evaluation.box_video import Comparison, found_video, protocols_of
from stages.evaluation.found_tubes import FoundTubes, Layout
from stages.evaluation.scores_stage import ScoresStage
from stages.evaluation.spec import MetricsSpec
from stages.features.backbone_spec import BackboneSpec
from stages.features.stage import FeaturesStage
from stages.metrics.box_protocols import gather
from stages.outcome import Done, Outcome
from stages.stage import UPSTREAM_SHARD, MapStage, Row, WorkContext
from tests.layouts import make_imagenet_vid
from tests.stages.evaluation.making import figures_of, process
from tests.stages.evaluation.test_found_tubes import LAYOUT, frames, rle
from tests.stages.labeling.named import items

NAMES = ("cat", "Giant panda", "dog")


def comparison(classes: list[int], names: tuple[str, ...], vocabulary: tuple[str, ...] = NAMES) -> Comparison:
    """One frame with an object on patch (0, 0) of each class."""
    box = np.array([[1.0, 2, 8, 9]] * len(classes)).reshape(-1, 4)
    truth = BoxTruth((FrameBoxes(box, np.array(classes), np.arange(len(classes))),), names, {})
    return Comparison(LAYOUT, vocabulary, np.array([True]), truth)


def test_classes_are_names_of_the_vocabulary() -> None:
    """By name, not by number; one that is missing gets a column that nothing is called."""
    columns = comparison([], ("dog", "zebra", "giant_panda")).columns
    assert columns is not None and columns.tolist() == [3, 5, 2]
    assert comparison([], ()).columns is None
    assert comparison([], ("dog",), vocabulary=()).columns is None


def test_scores_are_probabilities_of_the_targets() -> None:
    made = FoundTubes.of_frames(frames((1, 0, rle((0, 0))), (2, 0, rle((0, 1)))))
    classes = {1: np.array([0.1, 0.2, 0.3, 0.4])}
    found = FoundTubes(made.tubes, made.positions, made.rles, made.scores, classes)
    (frame,) = found_video(found, comparison([0, 1], ("dog", "zebra")), ["map50@vol"]).frames
    assert frame.truth_classes.tolist() == [3, 5]
    np.testing.assert_array_equal(frame.scores, [[np.nan, 0.2, 0.3, 0.4], [np.nan] * 4])
    with pytest.raises(ValueError, match="tube 1 has 4 probabilities for 2 names"):
        found_video(found, comparison([0], ("dog",), ("dog", "cat")), ["map50@vol"])


@pytest.mark.parametrize("names", [(), ("dog",)])
def test_without_names_everything_is_of_one_class(names: tuple[str, ...]) -> None:
    found = FoundTubes.of_frames(frames((1, 0, rle((0, 0)))))
    unnamed = comparison([0 if names else NO_CLASS], names, () if names else NAMES)
    (frame,) = found_video(found, unnamed, ["map50@vol"]).frames
    assert frame.truth_classes.tolist() == [0] and frame.scores.tolist() == [[0.5]]
    assert gather(["map50@vol"], found_video(found, unnamed, ["map50@vol"]))[0].value == 1.0


def test_who_can_be_compared() -> None:
    every = ["corloc@vol", "map50@vol", "word@sprites", "ap@ytvis-agnostic"]
    named, unnamed = comparison([], ("dog",)), comparison([], ("dog",), ())
    assert protocols_of(every, named, named=True) == every
    assert protocols_of(every, named, named=False) == ["corloc@vol", "ap@ytvis-agnostic"]
    for own in (True, False):
        assert protocols_of(every, unnamed, own) == ["corloc@vol", "map50@vol", "ap@ytvis-agnostic"]


def test_ground_truth_that_is_boxes(tmp_path: Path) -> None:
    """ImageNet-VID, two objects. One segment is a box around frames of 32 x 48 seen at 64 x 96: a single
    object to the letter where there is just one, in the first of three frames, else a group.
    """
    root = make_imagenet_vid(tmp_path / "VID", val=["v0"])
    data = DataSpec(kind="imagenet_vid", name="vid")
    inputs: dict[str, str] = {}

    def made(stage: MapStage, rows: list[Row]) -> tuple[Artifact, list[Outcome]]:
        context = WorkContext(str(root), tmp_path, inputs=dict(inputs))
        artifact, outcomes = process(stage, rows, context, tmp_path)
        inputs[stage.kind] = str(artifact.root)
        return artifact, outcomes

    catalog, _ = made(CatalogStage(data), list_items(data, str(root)))
    rows = [{**r, UPSTREAM_SHARD: "000000"} for r in pq.read_table(catalog.shard("000000")).to_pylist()]
    backbone = BackboneSpec(name="patchstats", stride=16)
    features, _ = made(FeaturesStage(backbone, DecodeSpec(fps="all", crop="none"), Geometry((64, 96))), rows)
    tubes, _ = made(TubesStage(METHODS["one"]()), items(features, "000000-00"))
    protocols = ("corloc@vol", "map50@vol", "so@vol", "so@vol-strict")
    scored = ScoresStage(MetricsSpec(protocols, ("blocks",)), (METHODS["blocks"](),))
    scores, (outcome,) = made(scored, items(tubes, "000000-00-00"))
    assert isinstance(outcome, Done) and outcome.info == {"objects": 2}
    values = figures_of(scores, protocols, tmp_path / "figures")["values"]
    assert values["cluster"] == {"corloc@vol": 0, "map50@vol": 0, "so@vol": 1 / 3, "so@vol-strict": 0}
    assert set(values["blocks"]) == set(protocols)
    layout = Layout.of(items(tubes, "000000-00-00")[0])
    assert (layout.resized, layout.grid, layout.native) == ((64, 96), (4, 6), (32, 48))
