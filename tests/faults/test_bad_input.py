"""Files as the world has them, through the whole flow: each a named reject or a right result."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from stages.catalog.ids import source_id, uri_from_path
from stages.features.store.reader import FeatureStore
from stages.outcome import ERROR_CLASSES
from tests import cli
from tests.faults.conftest import open_temporary
from tests.faults.stores import artifact, ledger, outcomes
from tests.faults.users import run_as_another
from tests.media import make_video

FRAMES = 4
LONG = "x" * 251 + ".mp4"
DEEP = "/".join(["d" * 60] * 5)

GOOD_NAMES = [
    b"with spaces.mp4", b"dots.in.the.name.mp4", b"-leading-dash.mp4", b"quote'\".mp4", b"semi;&$(x).mp4",
    "日本語-ümlaut.mp4".encode(), b"not-utf8-\xff\xfe.mp4", b"new\nline.mp4", b"UPPER.MP4", b"no_suffix",
    LONG.encode(), f"{DEEP}/{LONG}".encode(),
]  # fmt: skip
"""Names under which a good video has a result."""

REJECTS = {
    "zero.mp4": "empty_file",
    "text.mp4": "not_media",
    "header.mp4": "not_media",
    "audio.mp4": "no_video_stream",
    "fifo.mp4": "not_media",
    "dangling.mp4": "unreadable",
    "link_loop.mp4": "unreadable",
    "folder.mp4": "not_media",
    "secret.mp4": "unreadable",
}
"""Names of rejects, and their class."""

SIZES = {"one_pixel.mp4": (1, 1), "four_pixels.mp4": (2, 2), "odd.mp4": (7, 9)}
"""Good videos of awkward sizes, in pixels (height, width)."""


def make_audio(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux([*stream.encode(frame), *stream.encode(None)])


def make_sized(path: Path, height: int, width: int) -> None:
    """A video of any size: yuv444p has no halved planes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "18", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        for index in range(FRAMES):
            picture = np.full((height, width, 3), 60 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def ran() -> Iterator[tuple[Path, Path, list[object]]]:
    """(root, store, command) of a run over all of it, by someone who may not read everything."""
    with open_temporary() as folder:
        root, store = folder / "videos", folder / "store"
        good = make_video(root / "plain.mp4", FRAMES)
        for name in GOOD_NAMES:
            path = os.path.join(os.fsencode(root), name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            shutil.copyfile(os.fsencode(good), path)
        os.link(good, root / "hard_link.mp4")
        (root / "soft_link.mp4").symlink_to("plain.mp4")
        make_bad(root, good)
        for name, size in SIZES.items():
            make_sized(root / name, *size)
        command = cli.features(root, store, "--runner", "local", "--set", "layout.shard_videos=16")
        command += ["--max-failed", "40%"]
        run_as_another(folder, *command, code=0)
        yield root, store, command


def make_bad(root: Path, good: Path) -> None:
    data = good.read_bytes()
    (root / "zero.mp4").touch()
    (root / "text.mp4").write_text("this is no video\n" * 50)
    (root / "header.mp4").write_bytes(data[:40])
    (root / "truncated.mp4").write_bytes(fast_start(good)[:-300])
    make_audio(root / "audio.mp4")
    os.mkfifo(root / "fifo.mp4")
    (root / "dangling.mp4").symlink_to("nowhere.mp4")
    (root / "link_loop.mp4").symlink_to("link_loop.mp4")
    (root / "folder.mp4").mkdir()
    (root / "loop").mkdir()
    (root / "loop" / "back").symlink_to("..")
    (root / "notes.txt").write_text("no video, and nobody says it is")
    (root / "data.unknown").write_bytes(bytes(200))
    shutil.copyfile(good, root / "secret.mp4")
    (root / "secret.mp4").chmod(0)


def fast_start(path: Path) -> bytes:
    """The same video with its index in front, so that what is cut off are pictures."""
    moved = path.with_name(".fast.mp4")
    with av.open(str(path)) as source, av.open(str(moved), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = moved.read_bytes()
    moved.unlink()
    return data


def test_every_good_video_has_its_result_whatever_it_is_called(ran: tuple) -> None:
    _, store, _ = ran
    features = FeatureStore(artifact(store, "features").root)
    expected = features.array("plain@mp4")
    assert expected.shape[0] == FRAMES
    names = [*GOOD_NAMES, b"hard_link.mp4", b"soft_link.mp4"]
    for name in names:
        video = source_id(uri_from_path(name))
        np.testing.assert_array_equal(features.array(video), expected, err_msg=repr(name))
    rows = pq.read_table(artifact(store, "catalog").root / "shards").to_pylist()
    assert {unquote_to_bytes(row["uri"]) for row in rows} >= set(names)
    assert max(len(row["uri"]) for row in rows) > 300


def test_every_bad_one_is_rejected_by_name(ran: tuple) -> None:
    _, store, _ = ran
    found = outcomes(store, "catalog")
    for name, error_class in REJECTS.items():
        assert found[source_id(name)] == ("rejected", error_class), name
    rejects = pq.read_table(artifact(store, "catalog").root / "rejects").to_pylist()
    assert all(
        row["error_class"] in ERROR_CLASSES and row["attempts"] >= 1 and row["message"] for row in rejects
    )
    assert not [row for row in rejects if str(store.parent) in row["message"]], "a message names no folder"


def test_a_truncated_video_is_rejected_and_not_filled_up(ran: tuple) -> None:
    _, store, _ = ran
    stages = [outcomes(store, kind)["truncated@mp4"] for kind in ("catalog", "features")]
    assert ("rejected", "truncated") in stages, stages
    assert "truncated@mp4" not in FeatureStore(artifact(store, "features").root).videos


def test_awkward_sizes_give_features_of_every_frame(ran: tuple) -> None:
    _, store, _ = ran
    features = FeatureStore(artifact(store, "features").root)
    rows = {row["uri"]: row for row in pq.read_table(artifact(store, "catalog").root / "shards").to_pylist()}
    for name, size in SIZES.items():
        assert (rows[name]["height"], rows[name]["width"]) == size
        assert features.count(source_id(name)) == FRAMES


def test_nothing_disappears(ran: tuple) -> None:
    """Every listed file has exactly one outcome per stage; what no one calls a video is passed over."""
    _, store, command = ran
    listed = cli.run_json(*command, "--plan")["listed"]
    catalog, features = (outcomes(store, kind) for kind in ("catalog", "features"))
    assert len(catalog) == listed
    assert catalog.keys() == features.keys()
    assert catalog["data@unknown"][0] == "skipped"
    assert "notes@txt" not in catalog
    for video, (status, _) in catalog.items():
        assert status == "done" or features[video] == ("skipped", None), video
    assert ledger(store, "features").totals().done == len(GOOD_NAMES) + len(SIZES) + 3


def test_a_directory_loop_is_walked_once(ran: tuple) -> None:
    _, store, _ = ran
    back = [video for video in outcomes(store, "catalog") if video.startswith("loop+back")]
    assert back == ["loop+back"], "the link itself, and nothing behind it"


def test_explain_finds_odd_names(ran: tuple) -> None:
    root, _, command = ran
    for name in ("日本語-ümlaut.mp4", str(root / "quote'\".mp4"), LONG):
        assert "features: done" in cli.run(*command, "--explain", name).stdout, name
    assert "features: done" in cli.run(*command, "--explain=-leading-dash.mp4").stdout
