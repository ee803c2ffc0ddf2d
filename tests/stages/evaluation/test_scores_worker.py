"""Scores of a real small run against a direct computation on the same tubes and the written masks."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from stages.artifacts import manifest
from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import Ledger
from stages.catalog.truth import Truth
from stages.discovery.registry import METHODS
from stages.evaluation.score_rows import current_scores
from stages.evaluation.scores_stage import ScoresStage
from stages.evaluation.scores_worker import NO_OBJECT, inner, inside
from stages.evaluation.spec import MetricsSpec
from stages.metrics.protocols import score
from stages.outcome import Done, Rejected
from stages.stage import UPSTREAM_SHARD, MemoryAttempts, WorkContext
from stages.tubes.reader import TubeStore
from tests.measured import GOOD, PROTOCOLS, Measured

Key = tuple[str, str, str, int | None]


@pytest.fixture(scope="module")
def rows(measured: Measured) -> dict[Key, float]:
    found = current_scores(measured.artifact("scores")).to_pylist()
    table = {(r["video"], r["candidate"], r["protocol"], r["object"]): r["value"] for r in found}
    assert len(table) == len(found)
    return table


def outcomes(measured: Measured, kind: str, status: str) -> dict[str, str]:
    """Videos (as called in the data) with their messages."""
    table = Ledger.load(Artifact.at(measured.artifact(kind))).with_status(status)
    return {str(row["video"]): str(row["message"]) for row in table.to_pylist()}


def name_of(video: str) -> str:
    """The file's name without its ending, from a video's id."""
    return unquote(video.removesuffix("@mp4").replace("=", "%"))


def masks(measured: Measured, name: str) -> np.ndarray:
    paths = sorted((measured.data / "Annotations" / name).glob("*.png"))
    return np.stack([np.asarray(Image.open(path)) for path in paths])


def test_scores_equal_a_direct_computation(measured: Measured, rows: dict[Key, float]) -> None:
    store = TubeStore(measured.artifact("tubes"))
    seen = 0
    for video in store.videos():
        if name_of(video) not in GOOD:
            continue
        for kind in ("decoder", "attention"):
            direct = score(PROTOCOLS, store.label_map(video, kind), masks(measured, name_of(video)))
            mine = {k[2:]: v for k, v in rows.items() if k[:2] == (video, kind)}
            assert mine == {(s.protocol, s.object): pytest.approx(s.value, abs=1e-12) for s in direct}
            seen += len(direct)
    assert seen == sum(candidate in ("decoder", "attention") for _, candidate, _, _ in rows) > 20


def test_the_trivial_rows_are_what_their_names_say(measured: Measured, rows: dict[Key, float]) -> None:
    """``one`` is one segment over the frame; ``blocks`` is a grid; both stand in every good video."""
    for video in {key[0] for key in rows}:
        truth = masks(measured, name_of(video))
        one = score(PROTOCOLS, np.zeros_like(truth, np.int16), truth)
        mine = {k[2:]: v for k, v in rows.items() if k[:2] == (video, "one")}
        assert mine == {(s.protocol, s.object): pytest.approx(s.value, abs=1e-12) for s in one}
        height, width = truth.shape[1:]
        grid = 2 * (np.arange(height) >= height // 2)[:, None] + (np.arange(width) >= width // 2)[None]
        blocks = score(["fgari@video"], np.broadcast_to(grid, truth.shape).astype(np.int16), truth)
        assert rows[video, "blocks", "fgari@video", None] == pytest.approx(blocks[0].value, abs=1e-12)


def test_every_good_video_has_every_candidate(rows: dict[Key, float]) -> None:
    pairs = {(name_of(video), candidate) for video, candidate, _, _ in rows}
    assert pairs == {(n, c) for n in GOOD for c in ("decoder", "attention", "one", "blocks", "kmeans")}
    assert all(np.isfinite(value) for value in rows.values())


def test_frames_without_objects_leave_only_what_a_protocol_can_say(rows: dict[Key, float]) -> None:
    """@solv counts objects of the first frame: a video whose first frame is empty has no row, no zero."""
    late = {p for video, _, p, _ in rows if name_of(video) == "late"}
    plain = {p for video, _, p, _ in rows if name_of(video) == "plain"}
    assert plain == set(PROTOCOLS)
    assert "miou@solv" not in late
    assert {"fgari@video", "mbo@video", "mbo@frame"} <= late


def test_videos_that_can_not_be_scored_are_named_and_have_no_row(
    measured: Measured, rows: dict[Key, float]
) -> None:
    rejected = {name_of(v): m for v, m in outcomes(measured, "scores", "rejected").items()}
    assert list(rejected) == ["other <b> size"]
    assert "16 x 24 pixels" in rejected["other <b> size"] and "32 x 48" in rejected["other <b> size"]
    assert "Annotations/other <b> size/00000.png" in rejected["other <b> size"]
    skipped = {name_of(v): m for v, m in outcomes(measured, "scores", "skipped").items()}
    assert skipped["nothing"] == NO_OBJECT
    assert "no ground truth" in skipped["bare"]
    assert {name_of(key[0]) for key in rows} == set(GOOD)


def test_masks_of_a_video_that_is_not_there_are_counted_and_named(measured: Measured) -> None:
    rejected = outcomes(measured, "catalog", "rejected")
    assert len(rejected) == 1
    assert "Annotations/orphan: masks of a video that is not there" in next(iter(rejected.values()))
    assert len(outcomes(measured, "scores", "skipped")) == 3


def test_borders_are_cut_off_ids_and_void() -> None:
    ids = np.arange(2 * 6 * 8).reshape(2, 6, 8).astype(np.uint16)
    cut, void = inside(Truth(ids, ids % 2 == 0), (1, 2, 3, 0))
    np.testing.assert_array_equal(cut, ids[:, 1:4, 3:])
    assert void is not None
    np.testing.assert_array_equal(void, ids[:, 1:4, 3:] % 2 == 0)
    assert inside(Truth(ids, None), (0, 0, 0, 0))[1] is None
    assert inner(ids, (0, 0, 0, 0)).shape == ids.shape


def test_the_worker_reads_what_is_on_disk_now(measured: Measured, tmp_path: Path) -> None:
    """A mask that turns bad after cataloguing is that video's reject, and the next video goes on."""
    data = shutil.copytree(measured.data, tmp_path / "videos")
    (data / "Annotations" / "late" / "00003.png").write_bytes(b"no picture")
    shard = Artifact.at(measured.artifact("tubes")).committed()[0]
    outcomes = manifest.read_footer(Artifact.at(measured.artifact("tubes")).manifest(shard)).outcomes
    items = [
        {**o["info"], "video": o["video"], UPSTREAM_SHARD: shard}
        for o in outcomes
        if name_of(o["video"]) in GOOD
    ]
    stage = ScoresStage(MetricsSpec(("mbo@video",), ("one",)), (METHODS["one"](),))
    inputs = {kind: str(measured.artifact(kind)) for kind in ("catalog", "features", "tubes")}
    worker = stage.open(WorkContext(str(data), tmp_path, inputs=inputs))
    writer = stage.writer(tmp_path / "shard", "000000-00-00")
    ended = []
    for outcome in worker.process(items, writer, MemoryAttempts()):
        ended.append((name_of(outcome.video), type(outcome)))
        if isinstance(outcome, Done):
            writer.keep(outcome.video)
        if isinstance(outcome, Rejected):
            assert outcome.error_class == "annotation"
            assert outcome.message.startswith("Annotations/late/00003.png")
    assert sorted(ended, key=lambda e: e[0]) == [
        ("a&b <i>", Done), ("late", Rejected), ("plain", Done),
    ]  # fmt: skip
    assert {name_of(v) for v in writer.finish().rows["video"].to_pylist()} == {"a&b <i>", "plain"}
