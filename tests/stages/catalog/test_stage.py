"""The catalog stage: listed items become described, cut rows, rejects or skips, and nothing else."""

import csv
import dataclasses
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.catalog.errors import CatalogError
from stages.catalog.ids import source_id, uri_of
from stages.catalog.listing import list_items
from stages.catalog.spec import DataSpec
from stages.catalog.stage import TOUCHED, CatalogStage
from stages.catalog.table import CATALOG_SCHEMA, segments
from stages.outcome import Done, Rejected, Skipped
from stages.sprites.spec import SpritesSpec
from stages.stage import Limits, MemoryAttempts, WorkContext
from tests.media import make_video
from tests.outside import outside
from tests.stages.catalog.test_folder import touch
from tests.stages.catalog.test_frames import make_frames

LIMITS = Limits(timeout_s=30)


def run(tmp_path, spec, root, items=None):
    """All outcomes, and the rows of the shard they were written to."""
    stage = CatalogStage(spec)
    worker = stage.open(WorkContext(str(root), tmp_path, limits=LIMITS))
    writer = stage.writer(tmp_path / "shard", "catalog-000000")
    outcomes = []
    try:
        for outcome in worker.process(items or list_items(spec, str(root)), writer, MemoryAttempts()):
            outcomes.append(outcome)
            (writer.keep if isinstance(outcome, Done) else writer.discard)(outcome.video)
    finally:
        worker.close()
    written = writer.finish()
    table = pq.read_table(written.path)
    assert table.schema.equals(CATALOG_SCHEMA)
    assert written.rows["video"].to_pylist() == [o.video for o in outcomes if isinstance(o, Done)]
    return outcomes, table.to_pylist()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    make_video(root / "clip_01.mp4", frames=25, size=(48, 64), fps=10)
    make_video(root / "more/short.mkv", frames=3, size=(32, 40), fps=5)
    return root


def test_videos_are_described_and_cut(tmp_path, corpus):
    outcomes, rows = run(tmp_path, DataSpec(segment_frames=10), corpus)
    assert [row["video"] for row in rows] == [
        "clip_01@mp4~0000", "clip_01@mp4~0001", "clip_01@mp4~0002", "more+short@mkv",
    ]  # fmt: skip
    assert [(row["start"], row["frames"]) for row in rows] == [(0, 10), (10, 10), (20, 5), (0, 3)]
    assert {row["source"] for row in rows[:3]} == {"clip_01@mp4"}
    first = rows[0]
    assert (first["height"], first["width"], first["rotation"]) == (48, 64, 0)
    assert first["fps"] == pytest.approx(10) and first["truth"] is None
    path = corpus / "clip_01.mp4"
    assert (first["bytes"], first["mtime"]) == (path.stat().st_size, path.stat().st_mtime_ns)
    info = {"uri": "clip_01.mp4", "bytes": first["bytes"], "mtime": first["mtime"], "digest": first["digest"]}
    assert outcomes[0] == Done("clip_01@mp4~0000", info)


def test_shards_are_the_same_bytes(tmp_path, corpus):
    shards = []
    for name in "ab":
        (tmp_path / name).mkdir()
        run(tmp_path / name, DataSpec(), corpus)
        shards.append((tmp_path / name / "shard").read_bytes())
    assert shards[0] == shards[1]


def test_known_content_is_skipped_as_touched(tmp_path, corpus):
    items = list_items(DataSpec(), str(corpus))
    first, _ = run(tmp_path, DataSpec(), corpus)
    digests = {outcome.info["uri"]: outcome.info["digest"] for outcome in first}
    again = [{**item, "mtime": 7, "known_digest": digests[item["uri"]]} for item in items]
    again[1]["known_digest"] = "0" * 32
    outcomes, rows = run(tmp_path, DataSpec(), corpus, again)
    assert outcomes[0] == Skipped("clip_01@mp4", TOUCHED, {**first[0].info, "mtime": 7, "unchanged": True})
    assert isinstance(outcomes[1], Done) and [row["uri"] for row in rows] == ["more/short.mkv"]


def test_the_digest_is_of_all_content(tmp_path):
    data = make_video(tmp_path / "in/a.mp4").read_bytes()
    touch(tmp_path / "in", "b.mp4", content=data)
    touch(tmp_path / "in", "c.mp4", content=data + b"\0")
    _, rows = run(tmp_path, DataSpec(), tmp_path / "in")
    a, b, c = (row["digest"] for row in rows)
    assert a == b != c and len(a) == 32


def test_bad_items_are_rejected_by_name_and_the_rest_finishes(tmp_path):
    root = tmp_path / "root"
    make_video(root / "good.mp4")
    touch(root, "zero.mp4", content=b"")
    touch(root, "text.mkv", content=b"this is no video\n" * 50)
    os.symlink("nowhere.mp4", root / "dangling.mp4")
    os.symlink("self.mp4", root / "self.mp4")
    os.symlink(".", root / "here")
    os.symlink("..", root / "above")
    os.mkfifo(root / "fifo.mp4")
    os.mkfifo(root / "fifo")
    (root / "folder.mp4").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket.mp4"))
        outcomes, rows = run(tmp_path, DataSpec(), root)
    rejects = {uri_of(o.video): (o.error_class, o.message) for o in outcomes if isinstance(o, Rejected)}
    assert {uri: found[0] for uri, found in rejects.items()} == {
        "zero.mp4": "empty_file",
        "text.mkv": "not_media",
        "folder.mp4": "not_media",
        **dict.fromkeys(("fifo", "fifo.mp4", "socket.mp4"), "not_media"),
        **dict.fromkeys(("dangling.mp4", "self.mp4", "here", "above"), "unreadable"),
    }
    assert "loop" in rejects["here"][1] and "the data root" in rejects["here"][1]
    assert "loop" in rejects["above"][1] and "holds the data root" in rejects["above"][1]
    assert "empty folder" in rejects["folder.mp4"][1] and "dangling" in rejects["dangling.mp4"][1]
    assert [row["uri"] for row in rows] == ["good.mp4"]
    assert str(tmp_path) not in repr(outcomes)


def test_unknown_suffixes_are_skipped_unless_they_are_videos(tmp_path):
    root = tmp_path / "root"
    video = make_video(root / "good.mp4").read_bytes()
    touch(root, "recording", "take.001", content=video)
    touch(root, "LICENSE.somebody", content=b"You may do this and that.\n" * 40)
    touch(root, "_MARKER", content=b"")
    touch(root, "cut.001", content=video[: len(video) // 2])
    outcomes, rows = run(tmp_path, DataSpec(), root)
    assert [row["uri"] for row in rows] == ["good.mp4", "recording", "take.001"]
    skipped = {uri_of(o.video): o for o in outcomes if isinstance(o, Skipped)}
    assert {"LICENSE.somebody", "_MARKER"} <= set(skipped)
    assert skipped["LICENSE.somebody"].reason.startswith("no video (not_media): LICENSE.somebody")
    assert skipped["LICENSE.somebody"].info["bytes"] == 26 * 40
    assert len(outcomes) == 6


def _classes(root, scratch):
    return [
        (o.video, getattr(o, "error_class", ""))
        for o in run(Path(scratch), DataSpec(), root)[0]
        if not isinstance(o, Done)
    ]


def test_unreadable_things_are_rejected(public_folder, as_user):
    root, scratch = public_folder / "root", public_folder / "scratch"
    scratch.mkdir()
    scratch.chmod(0o777)
    touch(root, "sealed.mp4", "closed/b.mp4")
    (root / "sealed.mp4").chmod(0)
    (root / "closed").chmod(0)
    assert as_user(_classes, root, scratch) == [("closed", "unreadable"), ("sealed@mp4", "unreadable")]


def test_a_vanished_file_is_rejected_but_a_vanished_root_ends_the_run(tmp_path, corpus):
    items = [{"uri": "gone.mp4", "bytes": 3, "mtime": 1}]
    outcomes, _ = run(tmp_path, DataSpec(), corpus, items)
    assert (outcomes[0].video, outcomes[0].error_class) == ("gone@mp4", "unreadable")
    with pytest.raises(CatalogError, match="has disappeared"):
        run(tmp_path, DataSpec(), tmp_path / "unmounted", items)


def test_folders_of_images(tmp_path):
    root = tmp_path / "root"
    make_frames(root / "a", 5)
    make_frames(root / "b", 2, "png", size=(10, 12))
    os.symlink("..", root / "b/up")
    touch(root, "broken/1.jpg", content=b"no image")
    spec = DataSpec(kind="frames", fps=24.0, segment_frames=3)
    outcomes, rows = run(tmp_path, spec, root)
    assert [(r["video"], r["start"], r["frames"], r["fps"], r["height"], r["width"]) for r in rows] == [
        ("a~0000", 0, 3, 24.0, 16, 20), ("a~0001", 3, 2, 24.0, 16, 20), ("b", 0, 2, 24.0, 10, 12),
    ]  # fmt: skip
    rejects = {o.video: o.error_class for o in outcomes if isinstance(o, Rejected)}
    assert rejects == {"b+up": "unreadable", "broken": "decode_error"}
    clockless = run(tmp_path, DataSpec(kind="frames"), root)[1]
    assert {row["fps"] for row in clockless} == {None}


def test_the_digest_of_a_folder_is_of_names_and_contents(tmp_path):
    found = []
    for change in ("none", "none", "rename", "content", "add text"):
        root = tmp_path / f"root{len(found)}"
        folder = make_frames(root / "a", 3)
        if change == "rename":
            (folder / "00002.jpg").rename(folder / "00003.jpg")
        if change == "content":
            shutil.copy(folder / "00000.jpg", folder / "00001.jpg")
        if change == "add text":
            touch(folder, "notes.txt")
        found.append(run(tmp_path, DataSpec(kind="frames"), root)[1][0]["digest"])
    assert found[0] == found[1] == found[4] and len(set(found)) == 3


def test_davis(tmp_path):
    root = outside("data", "davis2016_mini")
    items = list_items(DataSpec(kind="davis"), str(root))[:2]
    items.append({"uri": "JPEGImages/480p/not-there", "bytes": -1, "mtime": 0})
    outcomes, rows = run(tmp_path, DataSpec(kind="davis"), root, items)
    for row in rows:
        name = row["uri"].rsplit("/", 1)[-1]
        assert row["frames"] == len(list((root / row["uri"]).glob("*.jpg")))
        assert (row["video"], row["truth"]) == (
            f"JPEGImages+480p+{name}",
            f"davis2016:Annotations/480p/{name}",
        )
    assert len(rows) == 2
    assert (outcomes[2].error_class, outcomes[2].video) == ("unreadable", "JPEGImages+480p+not-there")


def test_sprites_are_made_when_they_are_needed(tmp_path):
    root = tmp_path / "not" / "there yet"
    spec = DataSpec(kind="sprites", sprites=SpritesSpec(level="L1", count=3, frames=5, size=(32, 48)))
    items = list_items(spec, str(root))
    assert len(items) == 3 and not root.exists()
    outcomes, rows = run(tmp_path, spec, root, items[1:])
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert [path.name for path in sorted(root.rglob("*.mp4"))] == ["000001.mp4", "000002.mp4"]
    for row in rows:
        assert (row["frames"], row["height"], row["width"], row["mtime"]) == (5, 32, 48, 0)
        assert row["fps"] == pytest.approx(8.0) and row["bytes"] == (root / row["uri"]).stat().st_size
        rule, uri = row["truth"].split(":")
        assert rule == "sprites" and len(list((root / uri).glob("*.png"))) == 5
    shutil.rmtree(root)
    assert run(tmp_path, spec, root, items[1:])[1] == rows


def test_real_clips_end_as_their_table_says(tmp_path):
    """Small real files, good and bad: a row of as many frames as can be decoded, or a reject."""
    root = outside("data", "clips")
    with (root / "clips.csv").open() as file:
        listed = {row["file"]: row for row in csv.DictReader(file) if int(row["bytes"]) < 20_000}
    items = [
        i for i in list_items(DataSpec(), str(root)) if source_id(i["uri"]) in {source_id(n) for n in listed}
    ]
    assert len(items) == len(listed)
    outcomes, rows = run(tmp_path, DataSpec(), root, items)
    frames = {}
    for row in rows:
        frames[row["uri"]] = frames.get(row["uri"], 0) + row["frames"]
    for name, wanted in listed.items():
        good = not wanted["decode_error"] and int(wanted["decodable_frames"] or 0) >= 1
        uri = next(item["uri"] for item in items if source_id(item["uri"]) == source_id(name))
        assert (uri in frames) == good, (name, outcomes)
        if good:
            assert frames[uri] == int(wanted["decodable_frames"])


def test_every_license_beside_the_clips_is_skipped(tmp_path):
    root = outside("data", "clips")
    items = [item for item in list_items(DataSpec(), str(root)) if item["uri"].startswith("LICENSE")]
    outcomes, rows = run(tmp_path, DataSpec(), root, items) if items else ([], [])
    assert not rows and all(isinstance(outcome, Skipped) for outcome in outcomes)


def test_segments():
    assert list(segments(0, 5)) == []
    assert list(segments(5, 5)) == [(0, 5)]
    assert list(segments(11, 5)) == [(0, 5), (5, 5), (10, 1)]


def test_the_fingerprint_knows_what_matters_to_the_kind():
    def fingerprint(**settings):
        return CatalogStage(DataSpec(**settings)).fingerprint()

    other_sprites = SpritesSpec(seed=9)
    assert fingerprint() == fingerprint(sprites=other_sprites, year="2016", split="val", fps=3.0)
    assert (
        len({fingerprint(), fingerprint(name="x"), fingerprint(segment_frames=9), fingerprint(kind="frames")})
        == 4
    )
    assert fingerprint(kind="frames") != fingerprint(kind="frames", fps=3.0)
    assert fingerprint(kind="frames") == fingerprint(kind="frames", year="2016", sprites=other_sprites)
    assert fingerprint(kind="davis") != fingerprint(kind="davis", year="2016")
    assert fingerprint(kind="davis") != fingerprint(kind="davis", split="val")
    assert fingerprint(kind="davis") == fingerprint(kind="davis", sprites=other_sprites)
    assert fingerprint(kind="sprites") != fingerprint(kind="sprites", sprites=other_sprites)
    longer = dataclasses.replace(SpritesSpec(), count=1000)
    assert fingerprint(kind="sprites") == fingerprint(kind="sprites", sprites=longer)


def test_names():
    assert CatalogStage(DataSpec(name="My Videos/2019")).name == "my-videos-2019"
    assert CatalogStage(DataSpec(kind="davis")).name == "davis"
    assert CatalogStage(DataSpec(name="日本")).name == "folder"


def test_settings_that_cannot_be():
    with pytest.raises(ValueError, match="did you mean davis"):
        DataSpec(kind="davsi")
    with pytest.raises(ValueError, match="segment_frames"):
        DataSpec(segment_frames=0)
    with pytest.raises(ValueError, match="fps"):
        DataSpec(kind="frames", fps=0.0)
    with pytest.raises(ValueError, match="not a subclass"):
        list_items(DataSpec(kind="json:JSONDecoder"), ".")
    with pytest.raises(ValueError, match="nosuch"):
        list_items(DataSpec(kind="nosuch.module:Thing"), ".")


def test_planning_a_catalog_imports_no_decoder(tmp_path):
    make_frames(tmp_path / "a")
    code = (
        "import sys; from stages.catalog.spec import DataSpec; from stages.catalog.listing import list_items;"
        "from stages.catalog.stage import CatalogStage; spec = DataSpec(kind='frames');"
        "stage = CatalogStage(spec); print(len(list_items(spec, sys.argv[1])), len(stage.fingerprint()),"
        "stage.estimate({'uri': 'a', 'bytes': 1, 'mtime': 1})[0],"
        "sorted({'torch', 'ray', 'av', 'decord', 'PIL', 'timm', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split(maxsplit=3) == ["1", "64", "0", "[]\n"]
