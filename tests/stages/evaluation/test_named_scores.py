"""Scores of sprites whose tubes are their exact masks and whose names were given by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from stages.artifacts.commit import commit
from stages.artifacts.layout import Artifact, ShardLayout, start
from stages.catalog.listing import list_items
from stages.catalog.spec import DataSpec
from stages.catalog.sprites import SpritesSet
from stages.catalog.stage import CatalogStage
from stages.decode.spec import DecodeSpec, Geometry
from stages.discovery.registry import METHODS
from stages.evaluation.score_rows import current_evidence
from stages.evaluation.scores_stage import ScoresStage
from stages.evaluation.spec import MetricsSpec
from stages.features.backbone_spec import BackboneSpec
from stages.features.stage import FeaturesStage
from stages.labeling.naming import UNNAMED
from stages.outcome import Done, Outcome
from stages.sprites.clip import clip
from stages.sprites.spec import SpritesSpec
from stages.stage import UPSTREAM_SHARD, Row, WorkContext
from stages.tubes.table import NAMED
from stages.tubes.writer import TubeFrame, TubeName, TubesWriter
from tests.stages.evaluation.making import figures_of, process
from tests.stages.labeling.named import items

SPRITES = SpritesSpec(level="L0", count=2, frames=5, size=(32, 32))
"""A grey blob, an olive star and a teal blob; a white blob, a red box, an orange star and a pink disc."""
COUNTED = 4
"""The method has no tube in the last frame."""
VOCABULARY = ("red", "grey", "white", "pink", "red star", "dog")
CALLED = (("grey", "red star", "dog"), ("white", "red", "dog", "pink"))
PROTOCOLS = (
    "corloc@vol", "decrate@vol-pooled", "map50@vol", "word@sprites", "word-chance@sprites",
    "word-majority@sprites",
)  # fmt: skip
DATA = DataSpec(kind="sprites", name="sprites", sprites=SPRITES)


def tubes_of(index: int) -> tuple[list[TubeFrame], dict[int, TubeName]]:
    """The masks of a clip's objects, surest of the colour that is theirs, and of the rest, without a name."""
    made = clip(SPRITES, index)
    rows, names = [], {}
    for number in (0, *(thing["id"] for thing in made.objects)):
        for t in range(COUNTED):
            mask = np.asfortranarray(made.ids[t] == number, np.uint8)
            counts = coco.encode(mask)["counts"].decode()
            rows.append(TubeFrame(number, t, counts, (0, 0, 1, 1), int(mask.sum()), 0.5))
    names[0] = TubeName(UNNAMED, None)
    for thing, label in zip(made.objects, CALLED[index], strict=True):
        probabilities = np.full(1 + len(VOCABULARY), 0.02)
        if thing["colour"] in VOCABULARY:
            probabilities[1 + VOCABULARY.index(thing["colour"])] = 0.9
        names[thing["id"]] = TubeName(label, 0.9, classes=probabilities)
    return rows, names


def write_named(rows: list[Row], store: Path) -> Artifact:
    """Named tubes of the videos that features were made of."""
    artifact = Artifact(store / "named", "named", ".parquet")
    identity = {"fields": {"vocabulary": {"names": list(VOCABULARY)}}}
    start(artifact, {"kind": "named", "identity": identity}, ShardLayout())
    upstream = f"{rows[0][UPSTREAM_SHARD]}-00-00"
    writer = TubesWriter(artifact.shard(f"{upstream}-00").with_suffix(".tmp"), f"{upstream}-00")
    outcomes: list[Outcome] = []
    for index, row in enumerate(rows):
        found, names = tubes_of(index)
        for kind in (NAMED, "decoder"):
            writer.add(row["video"], kind, SPRITES.size, range(5), np.arange(5) / 5, found, names=names)
        writer.add(row["video"], "attention", SPRITES.size, range(5), np.arange(5) / 5, found)
        writer.keep(row["video"])
        info = {k: row[k] for k in ("native", "borders", "size", "grid", "frames")}
        outcomes.append(Done(row["video"], {**info, "clip": 4}))
    commit(artifact, f"{upstream}-00", writer.finish(), outcomes, upstream)
    return artifact


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Catalog, features and scores by the real stages."""
    store = tmp_path_factory.mktemp("sprites")
    root = store / "videos"
    SpritesSet(DATA, str(root)).prepare_root()
    context = WorkContext(str(root), store)
    catalog, _ = process(CatalogStage(DATA), list_items(DATA, str(root)), context, store)
    rows = [{**r, UPSTREAM_SHARD: "000000"} for r in pq.read_table(catalog.shard("000000")).to_pylist()]
    stage = FeaturesStage(
        BackboneSpec(name="patchstats", stride=4), DecodeSpec(fps="all", crop="none"), Geometry((128, 128))
    )
    features, _ = process(stage, rows, context, store)
    named = write_named(items(features, "000000-00"), store)
    folders = {"catalog": catalog, "features": features, "named": named, "tubes": named}
    inputs = {kind: str(artifact.root) for kind, artifact in folders.items()}
    scored = ScoresStage(MetricsSpec(PROTOCOLS, ("one",)), (METHODS["one"](),))
    made, outcomes = process(
        scored, items(named, named.committed()[0]), WorkContext(str(root), store, inputs=inputs), store
    )
    assert [type(outcome) for outcome in outcomes] == [Done, Done]
    return made


@pytest.mark.parametrize("candidate", [NAMED, "decoder"])
def test_figures_are_those_counted_by_hand(scores: Artifact, candidate: str, tmp_path: Path) -> None:
    """Of 7 objects 5 are called right; red star would be right for 3. Four of 7 colours are in the vocabulary
    and found without a mistake. The raw background tube is a box without a name, the named one is none.
    """
    values = figures_of(scores, PROTOCOLS, tmp_path / "metrics")["values"][candidate]
    assert values == {
        "corloc@vol": 1.0,
        "decrate@vol-pooled": 1.0,
        "map50@vol": pytest.approx(4 / 7),
        "word@sprites": pytest.approx(5 / 7),
        "word-chance@sprites": pytest.approx((1 + 1 + 0 + 1 + 2 + 1 + 1) / 6 / 7),
        "word-majority@sprites": pytest.approx(3 / 7),
    }


def test_frames_without_a_tube_count_for_nobody(scores: Artifact) -> None:
    for candidate, arrays in current_evidence(scores.root, "decrate@vol-pooled").items():
        assert [len(rows) for rows in arrays] == [3 * COUNTED, 4 * COUNTED], candidate


@pytest.mark.parametrize("candidate", ["attention", "one"])
def test_what_was_never_named_has_no_names_to_compare(
    scores: Artifact, candidate: str, tmp_path: Path
) -> None:
    """Trivial rows, and kinds of masks beyond the published one."""
    values = figures_of(scores, PROTOCOLS, tmp_path / "metrics")["values"][candidate]
    assert {name for name, value in values.items() if value is not None} == {
        "corloc@vol",
        "decrate@vol-pooled",
    }


def test_unnamed_tubes_are_no_detections(scores: Artifact) -> None:
    """A row for every box and name, and for every object."""
    sizes = {c: sum(map(len, a)) for c, a in current_evidence(scores.root, "map50@vol").items()}
    every = 7 * COUNTED * (len(VOCABULARY) + 1)
    assert sizes == {NAMED: every, "decoder": every}
