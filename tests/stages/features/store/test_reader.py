import io
import itertools
import pickle
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset

from stages.features.store.reader import CorruptShardError, FeatureStore
from tests.outside import PROJECT
from tests.stages.features.store.making import features, make_store, source_frames

SHAPES = {"tokens": (6, 8), "keys": (5, 4), "cls": (8,)}
VIEWS = ("base", "flip")
SHARDS = [{"a": 4, "b~0": 1}, {"c": 7, "d-é": 2}]
VIDEOS = {video: count for shard in SHARDS for video, count in shard.items()}
EVERY = [(v, view, facet) for v in VIDEOS for view in VIEWS for facet in SHAPES]


@pytest.fixture(scope="module", params=["fp16", "int8"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "store"
    return make_store(folder, SHARDS, SHAPES, VIEWS, request.param).root


@pytest.fixture(scope="module")
def fp16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("fp16") / "store", SHARDS, SHAPES, VIEWS).root


def expected(video: str, facet: str, view: str = "base") -> np.ndarray:
    frames = source_frames(VIDEOS[video])
    return np.stack([features(video, frame, facet, SHAPES[facet], view) for frame in frames])


def tar_arrays(root: Path) -> dict[str, np.ndarray]:
    """Every member, read front to back by the standard library and NumPy."""
    found = {}
    for shard in sorted((root / "shards").glob("*.tar")):
        with tarfile.open(shard) as file:
            for member in file:
                found[member.name] = np.load(io.BytesIO(file.extractfile(member).read()))
    return found


def test_fp16_comes_back_bit_for_bit(fp16: Path) -> None:
    store = FeatureStore(fp16)
    for video, view, facet in EVERY:
        clip = store.clip(video, facet=facet, view=view)
        assert clip.dtype == torch.float16
        assert clip.is_contiguous()
        np.testing.assert_array_equal(clip.numpy(), expected(video, facet, view))


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves them to the collector
def test_range_reads_equal_sequential_reads_equal_webdataset(root: Path) -> None:
    sequential = tar_arrays(root)
    shards = [str(path) for path in sorted((root / "shards").glob("*.tar"))]
    streamed = {}
    for sample in webdataset.WebDataset(shards, shardshuffle=False).decode():
        streamed[sample["__key__"]] = {k: v for k, v in sample.items() if k.endswith(".npy")}
    assert list(streamed) == list(VIDEOS)  # one sample per video
    assert sum(map(len, streamed.values())) == len(sequential)
    for video, members in streamed.items():
        for ending, array in members.items():
            np.testing.assert_array_equal(array, sequential[f"{video}.{ending}"])
            assert array.dtype == sequential[f"{video}.{ending}"].dtype
    store = FeatureStore(root)
    for video, view, facet in EVERY:
        for position, frame in enumerate(source_frames(VIDEOS[video])):
            name = f"f{frame:05d}.{'' if view == 'base' else view + '.'}{facet}"
            array = streamed[video][f"{name}.npy"]
            if array.dtype == np.int8:
                array = (array * streamed[video][f"{name}_scale.npy"]).astype(np.float16)
            clip = store.clip(video, [position], facet, view)
            np.testing.assert_array_equal(clip[0].numpy(), array)


@pytest.mark.parametrize(
    "frames", [[0], [6], [1, 2, 3], [0, 2, 4, 6], [5, 1, 3], [2, 2, 2], [6, 0, 6, 1], range(6, 0, -2), []]
)
def test_any_frames_in_any_order(root: Path, frames: list[int]) -> None:
    store = FeatureStore(root)
    whole = store.clip("c")
    for given in (frames, tuple(frames), np.array(frames, np.int64), torch.tensor(frames, dtype=torch.int64)):
        clip = store.clip("c", given)
        assert clip.shape == (len(frames), 6, 8)
        assert clip.dtype == torch.float16
        assert torch.equal(clip, whole[list(frames)])


@pytest.mark.parametrize(
    "part", [slice(None), slice(1, 4), slice(None, None, 3), slice(4, 1), slice(None, None, -1)]
)
def test_slices(root: Path, part: slice) -> None:
    store = FeatureStore(root)
    assert torch.equal(store.clip("c", part), torch.from_numpy(store.clip("c").numpy()[part].copy()))


def test_what_is_stored(root: Path) -> None:
    store = FeatureStore(root)
    assert len(store) == 4
    assert list(store.videos) == store.videos[:] == sorted(VIDEOS)
    assert (store.videos[-1], "a" in store, "zzz" in store, 3 in store.videos) == ("d-é", True, False, False)
    assert (store.facets, store.views) == (("cls", "keys", "tokens"), ("base", "flip"))
    assert store.counts().tolist() == [VIDEOS[v] for v in sorted(VIDEOS)]
    assert (store.count("c"), store.shape("c"), store.shape("a", "cls", "flip")) == (7, (7, 6, 8), (4, 8))
    index, pts = store.frames("c")
    assert (index.dtype, pts.dtype) == (np.int64, np.float64)
    assert index.tolist() == source_frames(7)
    np.testing.assert_array_equal(pts, np.array(source_frames(7)) / 25)
    with pytest.raises(IndexError, match="4 videos"):
        store.videos[4]


def test_unknown_names_are_answered_with_what_there_is(root: Path) -> None:
    store = FeatureStore(root)
    with pytest.raises(KeyError, match="no video 'd-e' among the 4 .*nearest: d-é"):
        store.clip("d-e")
    with pytest.raises(
        KeyError, match="a has no facet 'queries' of view 'base'; stored: base/cls, base/keys, "
    ):
        store.clip("a", [0], "queries")
    with pytest.raises(KeyError, match="stored: .*flip/tokens"):
        store.shape("a", "tokens", "blur")
    with pytest.raises(KeyError, match="tokens_scale"):
        store.clip("a", [0], "tokens_scale")


@pytest.mark.parametrize("frames", [[4], [0, -1], range(2, 6), np.array([7])])
def test_frames_out_of_range_say_how_many_there_are(root: Path, frames: list[int]) -> None:
    with pytest.raises(IndexError, match=r"video a has 4 frames \(0 to 3\), there is no frame (4|-1|7)"):
        FeatureStore(root).clip("a", frames)


def test_facets_do_not_cost_each_other_bytes(tmp_path: Path) -> None:
    """Frames of a real size, three facets stored: five of one facet cost at most 1 % more than they hold."""
    shapes = {"tokens": (196, 384), "keys": (196, 384), "cls": (384,)}
    store = FeatureStore(make_store(tmp_path / "s", [{"a": 6}], shapes).root)
    for facet in ("tokens", "keys"):
        store.gauge.reset()
        store.clip("a", range(1, 6), facet)
        assert store.gauge.needed == 5 * 196 * 384 * 2
        assert store.gauge.needed < store.gauge.read <= 1.01 * store.gauge.needed
    assert store.gauge.clips == 1
    store.gauge.reset()
    store.clip("a", [0, 2, 4])  # frames between the wanted ones are not read
    assert store.gauge.ratio == 1.0


def test_int8_factors_are_counted_and_lie_beside_their_frame(tmp_path: Path) -> None:
    store = FeatureStore(make_store(tmp_path / "s", [{"a": 6}], {"tokens": (512, 384)}, encoding="int8").root)
    store.clip("a", range(5))
    assert store.gauge.needed == 5 * (512 * 384 + 384 * 4)
    assert store.gauge.ratio < 1.02  # smaller members, and two per frame


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("part", ["array", "npy header", "scale"])
def test_verify_finds_a_flipped_bit(tmp_path: Path, part: str) -> None:
    artifact = make_store(tmp_path / "s", [{"a": 3, "b": 3}], encoding="int8" if part == "scale" else "fp16")
    rows = FeatureStore(artifact.root)._series("b", "base", "tokens")
    series = rows.scale if part == "scale" else rows
    flip(artifact.shard("000000"), series.offsets[1] + (0 if part == "npy header" else series.head))
    FeatureStore(artifact.root).clip("b")  # not looked for, not found
    store = FeatureStore(artifact.root, verify=True)
    store.clip("a")
    store.clip("b", [0, 2])
    with pytest.raises(
        CorruptShardError, match=r"features-000000\.tar is damaged, video b: .* 1 fails .*--repair"
    ):
        store.clip("b")


def test_verify_reads_the_same(root: Path) -> None:
    plain, checked = FeatureStore(root), FeatureStore(root, verify=True)
    for video, view, facet in EVERY:
        assert torch.equal(plain.clip(video, None, facet, view), checked.clip(video, None, facet, view))


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    artifact = make_store(tmp_path / "s", [{"a": 3, "b": 3}])
    path = artifact.shard("000000")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    store = FeatureStore(artifact.root)
    store.clip("a")
    with pytest.raises(CorruptShardError, match=r"features-000000\.tar is damaged, video b: the file ends"):
        store.clip("b")


def test_a_removed_shard_is_named(tmp_path: Path) -> None:
    artifact = make_store(tmp_path / "s", [{"a": 3}])
    store = FeatureStore(artifact.root)
    artifact.shard("000000").unlink()
    with pytest.raises(FileNotFoundError, match=r"features-000000\.tar of video a is not there"):
        store.clip("a")


def test_threads_share_a_store_with_few_open_files(tmp_path: Path) -> None:
    store = FeatureStore(make_store(tmp_path / "s", [{f"v{i}": 3} for i in range(6)]).root, max_open=2)
    whole = {video: store.clip(video) for video in store.videos}
    jobs = list(itertools.islice(itertools.cycle(store.videos), 600))
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda v: torch.equal(store.clip(v), whole[v]), jobs))


def test_a_pickle_carries_no_files_and_sees_the_same_videos(fp16: Path) -> None:
    store = FeatureStore(fp16, verify=True)
    store.clip("a")
    text = pickle.dumps(store)
    assert len(text) < 1000
    copy = pickle.loads(text)
    assert (copy.verify, copy.gauge.clips, list(copy.videos)) == (True, 0, list(store.videos))
    assert torch.equal(copy.clip("a"), store.clip("a"))


def test_torch_is_imported_only_for_tensors(fp16: Path) -> None:
    code = (
        "import sys; from stages.features.store import samplers, writer; "
        "from stages.features.store.reader import FeatureStore; "
        f"store = FeatureStore({str(fp16)!r}); store.array('a'); list(samplers.ClipSampler(store, "
        "samplers.Windows(2))); print([m for m in ('torch', 'ray', 's3fs') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
