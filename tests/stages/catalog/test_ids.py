"""Ids of videos: unique, reversible, safe as tar and webdataset keys."""

import io
import os
import tarfile

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from stages.catalog import ids

names = st.binary(min_size=1, max_size=60).map(lambda b: b.replace(b"\0", b"_").replace(b"/", b"-"))
long_names = st.binary(min_size=61, max_size=255).map(lambda b: b.replace(b"\0", b"_").replace(b"/", b"-"))
paths = st.lists(st.one_of(names, long_names), min_size=1, max_size=4).map(b"/".join)
text_paths = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=3).map(
    lambda parts: b"/".join(p.encode("utf-8", "ignore").replace(b"\0", b"") or b"x" for p in parts)
)
any_path = st.one_of(paths, text_paths)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"clip_01.mp4", "clip_01@mp4"),
        (b"day 1/clip_01.mp4", "day=201+clip_01@mp4"),
        (b"JPEGImages/480p/bear", "JPEGImages+480p+bear"),
        (b"-dash-.mp4", "=2Ddash-@mp4"),
        (b".", "=2E"),
        (b"a+b=c@d~e", "a=2Bb=3Dc=40d=7Ee"),
        ("käse.mp4".encode(), "k=C3=A4se@mp4"),
    ],
)
def test_ids_are_readable(path, expected):
    assert ids.source_id(ids.uri_from_path(path)) == expected


def test_a_long_path_keeps_the_head_of_its_name():
    video = ids.source_id(ids.uri_from_path(b"archive/" * 40 + b"holiday_2019.mp4"))
    assert video.startswith("holiday_2019@mp4~~")
    with pytest.raises(LookupError, match="uri column"):
        ids.uri_of(video + "~0003")


@given(any_path, st.one_of(st.none(), st.integers(0, 9_999_999)))
def test_every_id_is_a_safe_key(path, segment):
    video = ids.video_id(ids.uri_from_path(path), segment)
    assert len(video.encode("ascii")) <= ids.MAX_BYTES
    assert set(video) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+@=~")
    assert not video.startswith(("-", "~"))


@given(any_path, st.one_of(st.none(), st.integers(0, 9_999_999)))
def test_round_trip(path, segment):
    uri = ids.uri_from_path(path)
    video = ids.video_id(uri, segment)
    assert ids.split_video(video) == (ids.source_id(uri), segment)
    if "~~" in video:
        assert 3 * len(path) > ids.MAX_SOURCE_BYTES  # only longer ids are shortened; a byte takes up to 3
    else:
        assert ids.uri_of(video) == uri
    assert os.fsencode(ids.path_of("/root", uri)) == os.path.join(b"/root", path)


@given(st.lists(any_path, min_size=2, max_size=30, unique=True))
def test_different_paths_have_different_ids(found):
    videos = [ids.video_id(ids.uri_from_path(p), s) for p in found for s in (None, 0, 1, 12345)]
    assert len(set(videos)) == len(videos)


@given(st.text(max_size=80))
def test_text_that_is_no_id_is_refused_or_is_an_id(text):
    try:
        uri = ids.uri_of(text)
    except (ValueError, LookupError):
        return
    assert ids.video_id(uri, ids.split_video(text)[1]) == text or ids.split_video(text)[1] is not None


def test_segments_out_of_range_are_refused():
    for segment in (-1, 10_000_000):
        with pytest.raises(ValueError, match="segment"):
            ids.video_id("a.mp4", segment)
    with pytest.raises(ValueError, match="empty"):
        ids.source_id("")


@pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning"
)  # webdataset leaves its tar to the collector
def test_webdataset_groups_by_id(tmp_path):
    """Every id is one webdataset sample, whatever the file was called."""
    paths = [
        b"a.b.c/d.mp4",
        b".hidden/x",
        b"-x.mp4",
        b"\xff\xfe.mp4",
        b"e" * 255,
        b"plain",
        b"t\xc3\xa4g/\xe6.mov",
    ]
    videos = [ids.video_id(ids.uri_from_path(p), 1) for p in paths]
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for video in videos:
            for frame in range(2):
                info = tarfile.TarInfo(f"{video}.f{frame:05d}.tokens.npy")
                info.size = 1
                tar.addfile(info, io.BytesIO(b"x"))
    dataset = webdataset.WebDataset(str(tmp_path / "s.tar"), shardshuffle=False)
    assert [sample["__key__"] for sample in dataset] == videos
