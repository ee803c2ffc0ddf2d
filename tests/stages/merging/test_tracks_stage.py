"""The tracks stage on named tubes as they lie on disk; the rule is tested with stages.merging.tracks."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.artifacts import whole
from stages.errors import SettingsError
from stages.merging import tracks_stage
from stages.merging.tracks_stage import TRACKS_SCHEMA, TracksSpec, TracksStage, read_tracks
from stages.stage import WorkContext
from stages.tubes.reader import read_tubes
from tests.named import named_artifact
from tests.stages.tubes.making import make_store, random_segmentation


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named")
    names = ("b@mp4", "long@mp4~0000", "long@mp4~0001", "long@mp4~0002")
    videos = {name: random_segmentation(seed, frames=4) for seed, name in enumerate(names)}
    return named_artifact(make_store(folder / "tubes", videos).root, folder / "named")


def made(stage: TracksStage, named: Path, folder: Path) -> Path:
    context = WorkContext("", folder, inputs={"named": str(named)})
    whole.produce(folder, {"kind": "tracks"}, "state", lambda private: stage.make((), private, context))
    return folder


def test_all_tubes_of_all_sources_are_there(
    named: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read_tracks(made(TracksStage(), named, tmp_path / "one"))
    assert table.schema.equals(TRACKS_SCHEMA)
    tubes = read_tubes(named, "named")
    key = lambda t: sorted(zip(t["video"].to_pylist(), t["tube"].to_pylist(), strict=True))  # noqa: E731
    assert key(table) == key(tubes)
    found = whole.current(tmp_path / "one")
    assert found is not None
    tracks = {(row["source"], row["track"]): row["label_score"] for row in table.to_pylist()}
    with_name = sum(score is not None for score in tracks.values())
    told = TracksStage().told(found[0])
    assert told.startswith(f"{len(table)} tubes in {len(tracks)} tracks, {with_name} of them with a name: ")
    assert sum(int(part.rsplit(" ", 1)[1]) for part in told.split(": ")[1].split(", ")) == with_name
    rows = table.to_pylist()
    assert rows == sorted(rows, key=lambda row: (row["source"], row["track"], row["video"]))
    own = {(row["video"], row["tube"]): row for row in tubes.to_pylist()}
    alone = [row for row in rows if row["source"] == "b@mp4"]
    assert len({row["track"] for row in alone}) == len(alone) > 1
    for row in alone:
        tube = own[row["video"], row["tube"]]
        assert (row["label"], row["label_score"]) == (tube["label"], tube["label_score"])
    assert len({r["track"] for r in rows if r["source"] == "long@mp4"}) < len(rows) - len(alone), (
        "none is linked"
    )
    monkeypatch.setattr(tracks_stage, "_ROWS", 2)
    assert read_tracks(made(TracksStage(), named, tmp_path / "many")).equals(table), "written in parts"


def test_nothing_is_linked_at_zero(named: Path, tmp_path: Path) -> None:
    rows = read_tracks(made(TracksStage(0.0), named, tmp_path / "t")).to_pylist()
    assert len({(row["source"], row["track"]) for row in rows}) == len(rows)


def test_no_video_gives_an_empty_table(tmp_path: Path) -> None:
    empty = named_artifact(make_store(tmp_path / "tubes", {}).root, tmp_path / "named")
    assert read_tracks(made(TracksStage(), empty, tmp_path / "t")).equals(TRACKS_SCHEMA.empty_table())
    with pytest.raises(FileNotFoundError, match="no finished artifact of tracks"):
        read_tracks(tmp_path)


def test_thresholds_that_can_not_be_are_refused() -> None:
    assert TracksStage(0.4).fingerprint() != TracksStage().fingerprint()
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(SettingsError, match=r"tracks\.link_threshold=.*between 0 and 1"):
            TracksSpec(wrong)
