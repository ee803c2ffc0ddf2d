"""The shards that a run writes: range reads, a sequential read of the tar and plain webdataset agree."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset

from stages.features.store.reader import FeatureStore
from tests import cli
from tests.faults.stores import artifact
from tests.media import make_corpus, make_video

VIDEOS, FRAMES = 4, 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a run with two facets and two views."""
    base = tmp_path_factory.mktemp("reading")
    root = make_corpus(base / "videos", VIDEOS, frames=FRAMES)
    make_video(root / "a-name with.dots and spaces.mp4", 3, seed=77)
    options = (
        "--set",
        "backbone.facets=[rgb,flow]",
        "--set",
        "views.flip=true",
        "--set",
        "layout.shard_videos=2",
    )
    cli.run(*cli.features(root, base / "store", *options, "--runner", "local"))
    return artifact(base / "store", "features").root


Arrays = dict[tuple[str, str], np.ndarray]
"""By video and by what follows the video in a member's name."""


def by_ranges(folder: Path) -> Arrays:
    store, found = FeatureStore(folder, verify=True), {}
    for video in store.videos:
        frames = store.frames(video)[0]
        for view in store.views:
            for facet in store.facets:
                for position, frame in enumerate(frames):
                    ending = f"f{frame:05d}." + ("" if view == "base" else f"{view}.") + f"{facet}.npy"
                    found[video, ending] = store.clip(video, [position], facet, view)[0].numpy()
    return found


def by_tarfile(folder: Path) -> Arrays:
    found = {}
    for shard in sorted((folder / "shards").glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                data = tar.extractfile(member)
                assert data is not None
                video, _, ending = member.name.partition(".")
                found[video, ending] = np.load(io.BytesIO(data.read()))
    return found


def by_webdataset(folder: Path) -> Arrays:
    found = {}
    shards = sorted(str(path) for path in (folder / "shards").glob("*.tar"))
    for sample in webdataset.WebDataset(shards, shardshuffle=False).decode():
        found |= {(sample["__key__"], name): array for name, array in sample.items() if name.endswith(".npy")}
    return found


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset's
def test_three_ways_of_reading_agree(folder: Path) -> None:
    ranges, sequential, plain = by_ranges(folder), by_tarfile(folder), by_webdataset(folder)
    assert len(ranges) == (VIDEOS * FRAMES + 3) * 2 * 2
    assert ranges.keys() == sequential.keys() == plain.keys()
    for key, array in ranges.items():
        assert array.dtype == sequential[key].dtype == plain[key].dtype == np.float16
        np.testing.assert_array_equal(array, sequential[key], err_msg=str(key))
        np.testing.assert_array_equal(array, plain[key], err_msg=str(key))


def test_a_clip_is_its_frames(folder: Path) -> None:
    store = FeatureStore(folder)
    whole = store.clip("clip_02@mp4", facet="rgb")
    assert whole.shape[0] == FRAMES
    for positions in ([3], [2, 3, 4], [6, 0, 0, 5], slice(1, None, 2)):
        clip = store.clip("clip_02@mp4", positions, "rgb")
        chosen = range(FRAMES)[positions] if isinstance(positions, slice) else positions
        assert torch.equal(clip, whole[list(chosen)])


def test_the_flipped_view_is_that_of_mirrored_frames(folder: Path) -> None:
    """Mean colours of a mirrored frame are the mirrored mean colours."""
    store = FeatureStore(folder)
    rows, columns = 48 // 8, 64 // 8
    base = store.clip("clip_00@mp4", facet="rgb").reshape(FRAMES, rows, columns, -1)
    flip = store.clip("clip_00@mp4", facet="rgb", view="flip").reshape(FRAMES, rows, columns, -1)
    torch.testing.assert_close(flip, base.flip(2), rtol=0, atol=2e-3)
