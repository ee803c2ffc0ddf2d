"""Listing a folder of videos: what is an item, what is not, and that the walk always ends."""

import os
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from stages.catalog.errors import CatalogError
from stages.catalog.folder import FolderSet
from stages.catalog.ids import MAX_SOURCE_BYTES, path_of, source_id
from stages.catalog.listing import identity, list_items
from stages.catalog.spec import DataSpec
from stages.catalog.suffixes import FRAME, OTHER, VIDEO, kind_of
from stages.decode.image_files import EXTENSIONS
from stages.outcome import Rejected
from tests.layouts import write_masks
from tests.media import make_video

FOLDER = DataSpec(kind="folder")


def touch(root, *names, content=b"x"):
    for name in names:
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def uris(root):
    return [row["uri"] for row in list_items(FOLDER, str(root))]


def test_rows_are_sorted_and_carry_size_and_time(tmp_path):
    touch(tmp_path, "b.mp4", "a/z.mkv", "a.mp4", content=b"12345")
    rows = list_items(FOLDER, str(tmp_path))
    assert [row["uri"] for row in rows] == ["a.mp4", "a/z.mkv", "b.mp4"]
    for row in rows:
        stat = os.stat(path_of(str(tmp_path), row["uri"]))
        assert row == {"uri": row["uri"], "bytes": 5, "mtime": stat.st_mtime_ns}


def test_what_is_a_candidate(tmp_path):
    touch(tmp_path, "a.MP4", "b.webm", "c.ts", "noext", "odd.xyz", "x.", "clip.gif")
    touch(
        tmp_path,
        "p.jpg",
        "s.mp3",
        "t.srt",
        "n.txt",
        "l.csv",
        "z.tar.gz",
        "w.M3U8",
        ".hidden.mp4",
        ".git/x.mp4",
    )
    touch(tmp_path, "deep/.DS_Store", "deep/.cache/y.mp4", "deep/d.avi")
    assert uris(tmp_path) == ["a.MP4", "b.webm", "c.ts", "clip.gif", "deep/d.avi", "noext", "odd.xyz", "x."]


def test_suffix_tables_are_disjoint_and_agree_with_the_decoder():
    assert not VIDEO & OTHER and FRAME <= OTHER
    assert {"." + suffix.decode() for suffix in FRAME} == EXTENSIONS
    assert [kind_of(n) for n in (b"a.mp4", b"a.MKV", b"a.txt", b"a", b"mp4", b"a.", b"a.b.c")] == [
        "video", "video", "other", "unknown", "unknown", "unknown", "other",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        b"with space.mp4", b"-dash.mp4", b"'quote\".mp4", b"new\nline.mp4", b"per%20cent.mp4", b"a+b=c@d.mp4",
        "übung.mp4".encode(), b"latin-\xe9\xff.mp4", b"e" * 251 + b".mp4", b"#?&;$.mp4", b"back\\slash.mp4",
    ],
)  # fmt: skip
def test_any_name_is_listed_and_found_again(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    Path(os.fsdecode(path)).write_bytes(b"abc")
    (row,) = list_items(FOLDER, str(tmp_path))
    assert row["uri"].isascii() and row["bytes"] == 3
    assert os.fsencode(path_of(str(tmp_path), row["uri"])) == path
    assert len(source_id(row["uri"])) <= MAX_SOURCE_BYTES


def test_long_paths(tmp_path):
    folder = tmp_path.joinpath(*["d" * 60] * 8)
    touch(folder, "clip.mp4")
    (row,) = list_items(FOLDER, str(tmp_path))
    assert len(row["uri"]) > 300 and os.path.exists(path_of(str(tmp_path), row["uri"]))


def test_very_deep_folders_do_not_exhaust_the_stack(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):  # with relative calls one gets deeper than Python recurses
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(os.open("x.mp4", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    try:
        assert uris(tmp_path) == ["d/" * 1500 + "x.mp4"]
    finally:  # pytest would exhaust its own stack
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def test_things_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "fifo.mp4")
    os.symlink("nowhere.mp4", tmp_path / "dangling.mp4")
    os.symlink("self.mp4", tmp_path / "self.mp4")
    (tmp_path / "empty.mp4").mkdir()
    touch(tmp_path, "full.mp4/inside.mp4")
    (tmp_path / "empty").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.mp4"))
        rows = {row["uri"]: (row["bytes"], row["mtime"]) for row in list_items(FOLDER, str(tmp_path))}
    assert sorted(rows) == [
        "dangling.mp4",
        "empty.mp4",
        "fifo.mp4",
        "full.mp4/inside.mp4",
        "self.mp4",
        "socket.mp4",
    ]
    assert rows["dangling.mp4"] == rows["self.mp4"] == rows["empty.mp4"] == (-1, 0)


def test_links_are_followed_and_loops_end(tmp_path):
    root = tmp_path / "root"
    touch(root, "a/x.mp4", "b/y.mp4")
    touch(tmp_path, "outside/z.mp4")
    os.symlink("../a/x.mp4", root / "b/same.mp4")
    os.symlink("../outside", root / "out")
    os.symlink("..", root / "a/up")  # to the root
    os.symlink(".", root / "a/here")  # to itself
    os.symlink(tmp_path, root / "above")  # to what holds the root
    os.symlink("../b", root / "a/b")  # two folders that link to each other
    os.symlink("../a", root / "b/a")
    assert uris(root) == [
        "a/b/a", "a/b/same.mp4", "a/b/y.mp4", "a/here", "a/up", "a/x.mp4", "above",
        "b/a/b", "b/a/here", "b/a/up", "b/a/x.mp4", "b/same.mp4", "b/y.mp4", "out/z.mp4",
    ]  # fmt: skip


def test_many_folders_that_link_to_each_other_end_soon(tmp_path):
    names = [f"d{i:02d}" for i in range(14)]
    for name in names:
        touch(tmp_path, f"{name}/x.mp4")
        for other in names:
            if other != name:
                os.symlink(f"../{other}", tmp_path / name / f"to_{other}")
    started = time.monotonic()
    found = uris(tmp_path)
    assert {f"{name}/x.mp4" for name in names} <= set(found) and len(found) < 10_000
    assert time.monotonic() - started < 20  # following every path would take years


def _list(root):
    return list_items(FOLDER, str(root))


def test_unreadable_folders_are_items(public_folder, as_user):
    touch(public_folder, "open/a.mp4", "closed/b.mp4", "sealed.mp4")
    (public_folder / "closed").chmod(0)
    (public_folder / "sealed.mp4").chmod(0)
    rows = as_user(_list, public_folder)
    assert [(row["uri"], row["bytes"]) for row in rows] == [
        ("closed", -1),
        ("open/a.mp4", 1),
        ("sealed.mp4", 1),
    ]


def test_a_folder_whose_entries_cannot_be_looked_at(public_folder, as_user):
    touch(public_folder, "half/a.mp4", "b.mp4")
    (public_folder / "half").chmod(0o744)
    assert [(r["uri"], r["bytes"]) for r in as_user(_list, public_folder)] == [
        ("b.mp4", 1),
        ("half/a.mp4", -1),
    ]


def _error(root):
    try:
        list_items(FOLDER, str(root))
    except CatalogError as error:
        return str(error)
    return "no error"


def test_a_root_without_videos_is_an_error_that_says_what_is_missing(tmp_path):
    assert "does not exist" in _error(tmp_path / "missing")
    touch(tmp_path, "file.mp4")
    assert "is a file" in _error(tmp_path / "file.mp4")
    (tmp_path / "empty").mkdir()
    assert "holds no video" in _error(tmp_path / "empty")
    touch(tmp_path, "pictures/1.jpg")
    assert "data.kind=frames" in _error(tmp_path / "pictures")


def test_an_unreadable_root_is_an_error(public_folder, as_user):
    root = public_folder / "root"
    touch(root, "a.mp4")
    root.chmod(0)
    assert "can't be listed: Permission denied" in as_user(_error, root)


def test_a_link_as_root(tmp_path):
    touch(tmp_path, "real/a.mp4")
    os.symlink("real", tmp_path / "link")
    assert uris(tmp_path / "link") == uris(f"{tmp_path}/real/") == ["a.mp4"]


def test_masks_of_no_video_are_rejected(tmp_path):
    from tests.stages.catalog.test_stage import run  # which imports this module

    root = tmp_path / "root"
    make_video(root / "a.mp4", frames=2)
    for folder in ("Annotations/a", "Annotations/b/c", "Annotations/480p/d"):
        write_masks(root / folder, np.zeros((2, 48, 64), np.uint8))
    touch(root, "Annotations/readme.txt")
    outcomes, rows = run(tmp_path, FOLDER, root)
    assert [(row["uri"], row["truth"]) for row in rows] == [("a.mp4", "masks:Annotations/a")]
    what = "masks of a video that is not there: add the video, rename the folder like it, or remove it"
    assert [(o.error_class, o.message) for o in outcomes if isinstance(o, Rejected)] == [
        ("annotation", f"Annotations/480p/d: {what}"),
        ("annotation", f"Annotations/b/c: {what}"),
    ]


def test_images_that_are_no_masks_of_any_video_are_left_alone(tmp_path):
    make_video(tmp_path / "a.mp4", frames=2)
    write_masks(tmp_path / "Annotations/other", np.zeros((2, 48, 64), np.uint8))
    assert uris(tmp_path) == ["a.mp4"]


def test_what_masks_hold_is_a_setting(tmp_path):
    make_video(tmp_path / "a.mp4", frames=2)
    write_masks(tmp_path / "Annotations/a", np.zeros((2, 48, 64), np.uint8))
    binary = DataSpec(mask_values="binary")
    assert FolderSet(FOLDER, str(tmp_path)).truth("a.mp4") == "masks:Annotations/a"
    assert FolderSet(binary, str(tmp_path)).truth("a.mp4") == "masks-binary:Annotations/a"
    assert identity(FOLDER) != identity(binary)
