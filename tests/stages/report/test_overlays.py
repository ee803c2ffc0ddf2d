"""Tubes of a real small run on their frames."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from stages.artifacts import whole
from stages.report.overlays import HEIGHT, SHOWN, _chosen, _first, _nearest, overlays
from stages.stage import WorkContext
from stages.tubes.reader import TubeStore
from tests.layouts import moving
from tests.measured import FRAMES, GOOD, SIZE, Measured


@pytest.fixture
def context(measured: Measured, tmp_path: Path) -> WorkContext:
    inputs = {kind: str(measured.artifact(kind)) for kind in ("catalog", "tubes", "metrics")}
    return WorkContext(str(measured.data), tmp_path, inputs=inputs)


def test_best_median_and_worst_by_the_primary_protocol(context: WorkContext, measured: Measured) -> None:
    drawn = overlays(context, "mbo@video")
    found = whole.current(measured.artifact("metrics"))
    assert found is not None
    table = pq.read_table(found[0] / "per_video.parquet")
    mine = pc.and_(pc.equal(table["protocol"], "mbo@video"), pc.equal(table["candidate"], "decoder"))
    ranked = sorted(table.filter(mine).to_pylist(), key=lambda r: (-r["value"], r["video"]))
    assert [o.note for o in drawn] == ["best", "median", "worst"]
    assert [o.video for o in drawn] == [r["video"] for r in ranked]
    assert [o.score for o in drawn] == [f"mbo@video {r['value']:.3f}" for r in ranked]


def test_frames_and_tubes_belong_together(context: WorkContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """With labels that are others in every frame, which two steps of training don't give."""
    truth, labels = moving(GOOD.index("plain"), FRAMES, SIZE)
    monkeypatch.setattr(TubeStore, "label_map", lambda *_: labels)
    pictures = {o.video: o for o in overlays(context, "mbo@video")}
    plain = pictures["plain@mp4"]
    assert len(plain.frames) == min(FRAMES, SHOWN)
    assert plain.times == [f"{t / 5:.2f} s" for t in range(FRAMES)]
    for t, (rgb, small) in enumerate(plain.frames):
        assert rgb.shape == (HEIGHT, HEIGHT * SIZE[1] // SIZE[0], 3)
        assert small.shape == rgb.shape[:2]
        height = np.arange(SIZE[0]) * HEIGHT // SIZE[0] + 3
        width = np.arange(SIZE[1]) * HEIGHT // SIZE[0] + 3
        np.testing.assert_array_equal(small[height][:, width], labels[t])
        seen = rgb[height][:, width].astype(int)
        distance = [np.abs(seen - frame.astype(int)).mean() for frame in truth]
        assert int(np.argmin(distance)) == t


def test_a_protocol_without_figures_shows_the_first_videos(context: WorkContext) -> None:
    drawn = overlays(context, "jf@davis17u")
    assert [(o.note, o.score) for o in drawn] == [("", "")] * 3
    assert [o.video for o in drawn] == sorted(o.video for o in drawn)


def test_named_tubes_are_shown_where_there_are_some(
    context: WorkContext, measured: Measured, named: Path, tmp_path: Path
) -> None:
    """Their own figures choose the videos; where they have none, those of the masks that were named."""
    inputs = {**context.inputs, "named": str(named)}
    shown = overlays(dataclasses.replace(context, inputs=inputs), "mbo@video")
    store = TubeStore(named)
    plain = _chosen(context, TubeStore(context.inputs["tubes"]), "mbo@video")
    assert [(o.video, o.note, o.score) for o in shown] == plain
    for found in shown:
        assert {t.tube for t in found.tubes} == set(store.tubes(found.video, "named")["tube"].to_pylist())
        assert {int(n) for _, small in found.frames for n in np.unique(small)} <= {
            t.tube for t in found.tubes
        }
    copy = Path(shutil.copytree(measured.artifact("metrics"), tmp_path / "metrics"))
    path = whole.current(copy)[0] / "per_video.parquet"  # type: ignore[index]
    table = pq.read_table(path)
    mine = table.filter(pc.equal(table["candidate"], "decoder")).to_pylist()
    turned = [{**row, "candidate": "named", "value": 1 - row["value"]} for row in mine]
    pq.write_table(pa.concat_tables([table, pa.Table.from_pylist(turned, table.schema)]), path)
    context = dataclasses.replace(context, inputs={**inputs, "metrics": str(copy)})
    best = max(turned, key=lambda row: row["value"] if row["protocol"] == "mbo@video" else -1)
    assert _chosen(context, store, "mbo@video")[0] == (
        best["video"],
        "best",
        f"mbo@video {best['value']:.3f}",
    )


def test_without_figures_videos_with_names_are_shown(
    context: WorkContext, named: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TubeStore(named)
    last = store.videos()[-1]
    whole_parts = TubeStore.parts

    def only_the_last(self: TubeStore, *which: object) -> Iterator[pa.Table]:
        for part in whole_parts(self, *which):  # type: ignore[arg-type]
            mine = pc.equal(part["video"], last)
            column = part.schema.get_field_index("label_score")
            score = pc.if_else(mine, part["label_score"], pa.scalar(None, pa.float32()))
            yield part.set_column(column, "label_score", score)

    monkeypatch.setattr(TubeStore, "videos", lambda _: ["1", "2", "3", last])
    monkeypatch.setattr(TubeStore, "parts", only_the_last)
    assert _first(store) == [("1", "", ""), ("2", "", ""), (last, "", "")]


def test_one_ranked_video_is_neither_best_nor_worst(
    context: WorkContext, measured: Measured, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(measured.artifact("metrics"), tmp_path / "metrics"))
    found = whole.current(copy)
    assert found is not None
    table = pq.read_table(found[0] / "per_video.parquet")
    pq.write_table(table.filter(pc.equal(table["video"], "plain@mp4")), found[0] / "per_video.parquet")
    inputs = {**context.inputs, "metrics": str(copy)}
    (only,) = overlays(dataclasses.replace(context, inputs=inputs), "mbo@video")
    assert (only.video, only.note) == ("plain@mp4", "")
    assert only.score.startswith("mbo@video 0.")


def test_a_video_without_a_figure_of_its_own_is_not_ranked(
    context: WorkContext, measured: Measured, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(measured.artifact("metrics"), tmp_path / "metrics"))
    found = whole.current(copy)
    assert found is not None
    table = pq.read_table(found[0] / "per_video.parquet")
    values = pc.if_else(pc.equal(table["video"], "late@mp4"), pa.scalar(None, pa.float64()), table["value"])
    place = table.schema.get_field_index("value")
    pq.write_table(table.set_column(place, "value", values), found[0] / "per_video.parquet")
    inputs = {**context.inputs, "metrics": str(copy)}
    drawn = overlays(dataclasses.replace(context, inputs=inputs), "mbo@video")
    assert {one.note for one in drawn} == {"best", "worst"}
    assert "late@mp4" not in [one.video for one in drawn]


def test_a_video_that_can_not_be_decoded_any_more_is_left_out(
    context: WorkContext, measured: Measured, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(measured.data, tmp_path / "videos"))
    (data / "late.mp4").write_bytes(b"no video any more")
    (data / "plain.mp4").unlink()
    drawn = overlays(dataclasses.replace(context, data_root=str(data)), "mbo@video")
    assert [o.video.startswith("a=26b") for o in drawn] == [True]


def test_nothing_to_draw_without_tubes(context: WorkContext) -> None:
    assert overlays(dataclasses.replace(context, inputs={}), "mbo@video") == []


def test_a_label_map_at_another_size_keeps_its_blocks() -> None:
    labels = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(_nearest(labels, 4, 6), np.kron(labels, np.ones((2, 2), int)))
    np.testing.assert_array_equal(_nearest(np.kron(labels, np.ones((3, 3), int)), 2, 3), labels)
