"""MOVi-E: examples in TFRecord files as videos with ground truth."""

import os

import numpy as np
import pytest

from stages.catalog.content import refuse_changed
from stages.catalog.errors import CatalogError
from stages.catalog.ids import uri_of
from stages.catalog.listing import list_items
from stages.catalog.movi_e import MoviESet, read_masks
from stages.catalog.spec import DataSpec
from stages.catalog.truth import read_truth
from stages.outcome import MediaError, Rejected
from tests import tfrecords
from tests.stages.catalog.test_stage import run

FOLDER = "movi_e/128x128/1.0.0"


def spec(**settings):
    return DataSpec(kind="movi_e", **settings)


def uris(root, **settings):
    return [row["uri"] for row in list_items(spec(**settings), str(root))]


def first(split="validation", number=0, count=2):
    return f"{FOLDER}/movi_e-{split}.tfrecord-{number:05d}-of-{count:05d}"


def test_from_files_to_id_maps(tmp_path):
    root = tmp_path / "root"
    tfrecords.make_movi(root)
    outcomes, rows = run(tmp_path, spec(fps=12), root)
    assert len(outcomes) == len(rows) == 4
    assert [row["uri"].partition("%23")[0] for row in rows] == [first()] * 2 + [first(number=1)] * 2
    assert len({row["digest"] for row in rows}) == 4
    for number, row in enumerate(rows):
        assert (row["frames"], row["height"], row["width"], row["fps"]) == (24, 32, 48, 12.0)
        assert row["truth"] == f"movi_e:{row['uri']}"
        found = read_truth(str(root), row, [0, 7, 23])
        _, ids = tfrecords.clip(number)
        assert found.void is None and found.ids.dtype == np.uint16
        np.testing.assert_array_equal(found.ids, ids[[0, 7, 23]])
        refuse_changed(str(root), row)


def test_splits(tmp_path):
    tfrecords.make_movi(tmp_path)
    tfrecords.make_movi(tmp_path, shards=1, split="test")
    assert len(uris(tmp_path)) == len(uris(tmp_path, split="all")) == 6
    assert len(uris(tmp_path, split="test+validation")) == 6
    assert [u.partition("%23")[0] for u in uris(tmp_path, split="test")] == [first("test", count=1)] * 2
    with pytest.raises(
        CatalogError, match="has no 'train' for data.split=train; it has test, validation, all"
    ):
        uris(tmp_path, split="train")
    assert len(uris(tmp_path, scored="validation")) == 6
    data = MoviESet(spec(scored="validation"), str(tmp_path))
    assert [data.truth(u) is not None for u in uris(tmp_path)] == [False] * 2 + [True] * 4
    with pytest.raises(CatalogError, match="data.scored=validation has no video"):
        uris(tmp_path, split="test", scored="validation")
    with pytest.raises(CatalogError, match="has no 'train' for data.scored"):
        uris(tmp_path, scored="train")


def test_what_is_missing_is_named(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CatalogError, match=r"no movi_e-<split>\.tfrecord-XXXXX-of-YYYYY: 1 other files"):
        uris(tmp_path)
    tfrecords.make_movi(tmp_path)
    tfrecords.write_shard(tfrecords.shard_path(tmp_path, "validation", 0, 2, "movi_e/256x256/1.0.0"), [b"x"])
    with pytest.raises(CatalogError, match=r"twice, in movi_e/128x128/1\.0\.0 and movi_e/256x256/1\.0\.0"):
        uris(tmp_path)


def test_bad_shards_and_examples_are_rejected_by_name(tmp_path):
    root = tmp_path / "root"
    rgb, ids = tfrecords.clip(0, frames=3)
    good = tfrecords.movi_example(rgb, ids)
    images = [tfrecords.encoded(frame) for frame in rgb]
    shards = [
        [good, tfrecords.example({"segmentations": [b"x"]}), tfrecords.example({"video": []})],
        [tfrecords.example({"video": [*images[:2], b"no image"]}), b"\xff\xff\xff"],
        [good, good],
        [good],
        [good],
    ]
    paths = [tfrecords.shard_path(root, "test", n, 7) for n in range(7)]
    starts = [tfrecords.write_shard(path, data) for path, data in zip(paths, shards, strict=False)]
    paths[2].write_bytes(paths[2].read_bytes()[:-9])
    damaged = bytearray(paths[3].read_bytes())
    damaged[40] ^= 4
    paths[3].write_bytes(damaged)
    paths[4].write_bytes(b"")
    os.symlink("nowhere", paths[5])
    outcomes, rows = run(tmp_path, spec(), root)

    def uri(number, example):
        return f"{first('test', number, 7)}%23{starts[number][example] if number < 4 else 0}"

    rejects = {
        uri_of(o.video) if "~~" not in o.video else o.video: o for o in outcomes if isinstance(o, Rejected)
    }
    by_class = sorted((o.error_class, o.message.partition(": ")[2]) for o in rejects.values())
    assert [row["uri"] for row in rows] == [uri(0, 0), uri(1, 0), uri(2, 0)]
    assert [name for name, _ in by_class] == [
        "empty_file",
        "no_frames",
        "no_video_stream",
        "truncated",
        *["unreadable"] * 4,
    ]
    said = " | ".join(message for _, message in by_class)
    for sentence in (
        "has no bytes", "holds no image", "no feature 'video' (it has segmentations)",
        "ends within this record", "is no tf.train.Example", "don't fit their checksum",
        "a dangling link", "this shard is missing",
    ):  # fmt: skip
        assert sentence in said, (sentence, said)


def test_a_changed_record_is_refused(tmp_path):
    root = tmp_path / "root"
    tfrecords.make_movi(root, shards=1)
    _, rows = run(tmp_path, spec(), root)
    path = tfrecords.shard_path(root, "validation", 0, 1)
    before = path.stat().st_mtime_ns
    other = [tfrecords.movi_example(*tfrecords.clip(seed)) for seed in (8, 1)]
    tfrecords.write_shard(path, other)
    os.utime(path, ns=(before + 10**9, before + 10**9))
    with pytest.raises(MediaError, match="changed since it was catalogued|length doesn't fit"):
        refuse_changed(str(root), rows[0])


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ({}, "has no feature 'segmentations'"),
        ({"video": [b"", b""]}, "has no feature 'segmentations'"),
        (
            {"video": [b"", b""], "segmentations": [tfrecords.encoded(np.zeros((4, 4), np.uint8))]},
            "has 1 masks for 2 frames",
        ),
        ({"video": [b"", b""], "segmentations": [b""] * 3}, "has 3 masks for 2 frames"),
        ({"video": [b""], "segmentations": [b""]}, "frame 1 is not there any more, the example has 1"),
        ({"video": [b"", b""], "segmentations": [b"?", b"?"]}, "the mask of frame 0 is broken"),
    ],
)
def test_bad_masks(tmp_path, features, says):
    path = tfrecords.shard_path(tmp_path, "test", 0, 1)
    tfrecords.write_shard(path, [tfrecords.example(features)])
    with pytest.raises(MediaError, match=says) as caught:
        read_masks(str(tmp_path), f"{first('test', 0, 1)}%230", [0, 1])
    assert caught.value.error_class == "annotation"
