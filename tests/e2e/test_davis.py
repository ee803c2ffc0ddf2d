"""Real sequences from outside: as image folders with their lists, and the same encoded to mp4."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages.catalog.davis import read_mask
from stages.catalog.table import split_truth
from stages.features.store.reader import FeatureStore
from tests import cli
from tests.faults.stores import artifact, outcomes
from tests.outside import outside

SCALE = 4
"""The mp4s have every SCALE-th pixel of a side: encoding whole frames would take most of the test."""


@pytest.fixture(scope="module")
def davis() -> Path:
    return outside("data", "davis2016_mini")


def sequences(davis: Path) -> dict[str, list[Path]]:
    """The frames of every sequence."""
    folders = sorted(path for path in davis.glob("JPEGImages/*/*") if path.is_dir())
    return {folder.name: sorted(folder.glob("*.jpg")) for folder in folders}


def run(root: Path, store: Path, kind: str) -> FeatureStore:
    """Features of mean colours on a coarse grid."""
    cli.run(
        "features", "--set", f"data.root={root}", "--set", f"data.kind={kind}", "--set", f"store={store}",
        "--set", "decode.fps=all", "--set", "decode.size=[48,64]", "--set", "backbone.facets=[rgb]",
        "--set", "layout.shard_videos=2", "--runner", "local", "--workers", 2,
    )  # fmt: skip
    return FeatureStore(artifact(store, "features").root)


@pytest.fixture(scope="module")
def images(davis: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return run(davis, tmp_path_factory.mktemp("davis") / "store", "davis")


@pytest.fixture(scope="module")
def videos(davis: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    folder = tmp_path_factory.mktemp("encoded")
    for name, frames in sequences(davis).items():
        encode(folder / "videos" / f"{name}.mp4", frames)
    return run(folder / "videos", folder / "store", "folder")


def encode(path: Path, frames: list[Path]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "10", "preset": "veryfast"})
        for index, picture in enumerate(pictures(frames)):
            if index == 0:
                stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def pictures(frames: list[Path]) -> Iterator[np.ndarray]:
    """Reduced frames with even sides."""
    for path in frames:
        with Image.open(path) as image:
            image.draft("RGB", (image.width // SCALE, image.height // SCALE))
            pixels = np.asarray(image.convert("RGB"))
        yield np.ascontiguousarray(pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2])


def test_every_sequence_has_features_of_every_frame(davis: Path, images: FeatureStore) -> None:
    expected = {name: len(frames) for name, frames in sequences(davis).items()}
    found = {video.rsplit("+", 1)[-1]: images.count(video) for video in images.videos}
    assert found == expected
    store = Path(images.path).parents[1]
    assert set(outcomes(store, "features").values()) == {("done", None)}


def test_masks_lie_where_the_catalog_says(davis: Path, images: FeatureStore) -> None:
    rows = pq.read_table(artifact(Path(images.path).parents[1], "catalog").root / "shards").to_pylist()
    for row in [row for row in rows if row["truth"] is not None]:
        rule, uri = split_truth(row["truth"])
        masks = sorted((davis / uri).glob("*.png"))
        assert len(masks) == row["frames"], row["video"]
        objects, _ = read_mask(masks[0], rule.removeprefix("davis"))
        assert objects.shape == (row["height"], row["width"])
        assert objects.any()


def test_the_same_sequences_as_mp4_give_the_same_frames(
    davis: Path, images: FeatureStore, videos: FeatureStore
) -> None:
    """Frame for frame: an encoded frame is nearest to the image it was made from, not to a neighbour's."""
    by_name = {video.rsplit("+", 1)[-1]: video for video in images.videos}
    assert {video.removesuffix("@mp4") for video in videos.videos} == set(by_name)
    for video in videos.videos:
        one = images.array(by_name[video.removesuffix("@mp4")], facet="rgb").astype(np.float64)
        other = videos.array(video, facet="rgb").astype(np.float64)
        assert one.shape == other.shape
        # what doesn't change over time is how JPEG and H.264 convert colours, not what is seen
        moving, encoded = one - one.mean(0), other - other.mean(0)
        distance = np.abs(moving[:, None] - encoded[None]).mean(axis=(2, 3))
        np.testing.assert_array_equal(distance.argmin(axis=1), np.arange(len(one)), err_msg=video)
        index, pts = videos.frames(video)
        np.testing.assert_allclose(pts, index / 24, atol=1e-3)
