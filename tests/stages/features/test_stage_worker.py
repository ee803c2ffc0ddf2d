import contextlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from stages.artifacts.commit import commit
from stages.catalog.content import read_file_item, read_folder_item
from stages.catalog.ids import path_of
from stages.decode.client import DecoderClient
from stages.decode.frames import FrameChunk
from stages.decode.spec import DecodeRequest, DecodeSpec, Geometry
from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec
from stages.features.backbones.base import FeatureOverflowError, build
from stages.features.backbones.online import kept_encoder
from stages.features.backbones.torch_backbone import load_model
from stages.features.stage import FeaturesStage
from stages.features.store.reader import FeatureStore
from stages.features.store.shard_features import ShardFeatures
from stages.features.views import ViewsSpec, kept_patches, see
from stages.features.worker import NO_FRAMES, batches
from stages.outcome import Done, MediaError, Rejected, Skipped
from stages.stage import Limits, MemoryAttempts, WorkContext
from tests.stages.features.store.making import artifact_at

ALL = DecodeSpec(fps="all")
STAGE = FeaturesStage(decode=ALL, geometry=Geometry((32, 48)), backbone=BackboneSpec(batch=4))


def picture(t):
    y, x = np.mgrid[:64, :96]
    return np.stack([(x * 2 + 8 * t) % 256, (y * 3 + x) % 256, (y + 5 * t) % 256], axis=-1).astype(np.uint8)


def encode(path, frames, **options):
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "18", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for t in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(t), format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two good videos, an empty file, one whose data ends in the middle, a folder of images."""
    folder = tmp_path_factory.mktemp("videos")
    encode(folder / "a 1%.mp4", 11)
    encode(folder / "b.mp4", 6)
    (folder / "empty.mp4").write_bytes(b"")
    whole = encode(folder / "cut.mp4", 60, movflags="faststart").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "images").mkdir()
    for t in range(3):
        Image.fromarray(picture(t)).save(folder / "images" / f"{t:05d}.png")
    return folder


def row(video, uri, frames, start=0, fps=10.0):
    return {"video": video, "uri": uri, "start": start, "frames": frames, "fps": fps}


A, B = row("a", "a%201%25.mp4", 11), row("b", "b.mp4", 6)
EMPTY, CUT = row("empty", "empty.mp4", 9), row("cut", "cut.mp4", 60)
IMAGES = row("images", "images", 3, fps=None)


def catalogued(root, row):
    """``row`` with what a catalog says about its file as it is now, unless it says so already."""
    read = read_folder_item if row["uri"] == "images" else read_file_item
    found = Path(path_of(str(root), row["uri"])).stat()
    now = {"bytes": found.st_size, "mtime": found.st_mtime_ns, "digest": "-"}
    with contextlib.suppress(MediaError):
        now["digest"] = read(str(root), row["uri"]).digest
    return {**now, **row}


def run(stage, root, rows, path):
    """As the engine drives a worker: keep what is done, discard what is not."""
    rows = [catalogued(root, row) for row in rows]
    worker = stage.open(WorkContext(str(root), path.parent, limits=Limits(timeout_s=30)))
    writer, outcomes = stage.writer(path, "shard"), []
    try:
        for outcome in worker.process(rows, writer, MemoryAttempts()):
            outcomes.append(outcome)
            (writer.keep if isinstance(outcome, Done) else writer.discard)(outcome.video)
        return outcomes, writer.finish()
    except BaseException:
        writer.abort()
        raise
    finally:
        worker.close()


def members(written, view="base", facet="tokens"):
    """video -> (frames, pts, features (T, N, D)) as stored."""
    data, found = written.path.read_bytes(), {}
    for item in written.rows.to_pylist():
        if (item["view"], item["facet"]) == (view, facet):
            end = item["offset"] + item["size"]
            size = 2 * int(np.prod(item["shape"]))
            array = np.frombuffer(data[end - size : end], np.float16).reshape(item["shape"])
            for values, value in zip(
                found.setdefault(item["video"], ([], [], [])),
                (item["frame"], item["pts"], array),
                strict=True,
            ):
                values.append(value)
    return {video: (f, p, np.stack(a)) for video, (f, p, a) in found.items()}


def bare(root, stage, item, view="base"):
    """The same features by a plain loop over decoder and backbone."""
    backbone, client = build(stage.backbone), DecoderClient(Limits())
    request = DecodeRequest(
        item["video"],
        str(root / "a 1%.mp4"),
        item["start"],
        item["frames"],
        None,
        stage.decode,
        stage.frame_geometry(),
        chunk=100,
    )
    (chunk,) = next(iter(client.decode([request], MemoryAttempts())))
    client.close()
    rgb, arrays, start = see(chunk.rgb, item["video"], view, stage.views), [], 0
    for size in (4, 4, 2, 1):
        before = rgb[start - 1] if start else None
        arrays.append(backbone.extract(rgb[start : start + size], before)["tokens"])
        start += size
    assert start == len(rgb)
    return chunk, np.concatenate(arrays)


@pytest.mark.parametrize("name", ["patchstats", "vit_tiny_patch16_224"])
def test_features_are_those_of_a_plain_loop(root, tmp_path, name):
    backbone = BackboneSpec(name=name, weights="random", batch=4)
    stage = replace(STAGE, backbone=backbone, views=ViewsSpec(flip=True, photometric=1))
    outcomes, written = run(stage, root, [A, B], tmp_path / "s.tar")
    side = 8 if name == "patchstats" else 16
    assert [o.video for o in outcomes] == ["a", "b"] and all(isinstance(o, Done) for o in outcomes)
    assert outcomes[0].info["frames"] == 11 and outcomes[1].info["frames"] == 6
    assert outcomes[0].info["size"] == [32, 48] and outcomes[0].info["grid"] == [32 // side, 48 // side]
    assert outcomes[0].info["decoder"] in ("decord", "pyav")
    for view in ("base", "flip", "photo0"):
        chunk, expected = bare(root, stage, A, view)
        frames, pts, stored = members(written, view)["a"]
        assert frames == chunk.index.tolist() and pts == chunk.pts.tolist()
        assert stored.tobytes() == expected.tobytes()
    base, flip = (members(written, view)["a"][2] for view in ("base", "flip"))
    assert base.tobytes() != flip.tobytes()


def test_a_bad_video_leaves_no_trace(root, tmp_path):
    outcomes, mixed = run(STAGE, root, [A, EMPTY, CUT, B], tmp_path / "mixed.tar")
    assert [type(o) for o in outcomes] == [Done, Rejected, Rejected, Done]
    assert outcomes[1].error_class == "empty_file"
    assert outcomes[2].error_class in ("truncated", "decode_error")
    _, good = run(STAGE, root, [A, B], tmp_path / "good.tar")
    assert mixed.sha256 == good.sha256


def test_a_decoder_that_dies_in_the_middle(root, tmp_path):
    """What was added before the death goes; the others stay byte for byte."""
    stage = replace(STAGE, decode=DecodeSpec(fps="all", decoder="tests.stages.features.dying:DyingDecoder"))
    rows = [A, B, row("again", A["uri"], 11)]
    outcomes, mixed = run(stage, root, rows, tmp_path / "mixed.tar")
    assert [type(o) for o in outcomes] == [Done, Rejected, Done]
    assert outcomes[1].error_class == "crash" and outcomes[1].attempts == Limits().attempts
    _, good = run(stage, root, [rows[0], rows[2]], tmp_path / "good.tar")
    assert mixed.sha256 == good.sha256


@pytest.mark.parametrize(
    ("then", "fits"), [({"mtime": 1}, True), ({"mtime": 1, "digest": "0" * 32}, False), ({"bytes": 7}, False)]
)
def test_a_file_that_changed_since_it_was_catalogued(root, tmp_path, then, fits):
    """A row is never applied to another version of its file; a touched file is the same version."""
    outcomes, _ = run(STAGE, root, [A, B | then, IMAGES | {"digest": "0" * 32}], tmp_path / "c.tar")
    assert [type(o) for o in outcomes] == [Done, Done if fits else Rejected, Rejected]
    assert outcomes[2].error_class == "unreadable" and "run again" in outcomes[2].message


def test_the_same_bytes_again_and_in_any_company(root, tmp_path):
    _, first = run(STAGE, root, [A, B], tmp_path / "1.tar")
    _, again = run(STAGE, root, [A, B], tmp_path / "2.tar")
    _, alone = run(STAGE, root, [B], tmp_path / "3.tar")
    assert again.sha256 == first.sha256
    assert members(alone)["b"][2].tobytes() == members(first)["b"][2].tobytes()


def test_a_segment_without_a_sampled_frame_is_skipped(root, tmp_path):
    stage = replace(STAGE, decode=DecodeSpec(stride=4))
    rows = [row("a0", A["uri"], 5), row("a1", A["uri"], 3, start=5), row("a2", A["uri"], 3, start=8)]
    outcomes, written = run(stage, root, rows, tmp_path / "s.tar")
    assert [type(o) for o in outcomes] == [Done, Skipped, Done]
    assert outcomes[1].reason == NO_FRAMES
    assert {video: found[0] for video, found in members(written).items()} == {"a0": [0, 4], "a2": [8]}


def test_a_folder_of_images(root, tmp_path):
    outcomes, written = run(STAGE, root, [IMAGES], tmp_path / "s.tar")
    assert isinstance(outcomes[0], Done) and outcomes[0].info["frames"] == 3
    assert members(written)["images"][0] == [0, 1, 2]
    outcomes, written = run(
        replace(STAGE, decode=DecodeSpec(fps=2)), root, [IMAGES | {"fps": 4.0}], tmp_path / "c.tar"
    )
    assert members(written)["images"][:1] == ([0, 2],)
    assert members(written)["images"][1] == [0.0, 0.5]


def test_overflow_stops_the_run_and_names_the_video(root, tmp_path):
    name = "vit_tiny_patch16_224"
    state = load_model(BackboneSpec(name=name, weights="random"))[0].state_dict()
    state["blocks.11.mlp.fc2.bias"] += 1e6
    save_file(state, tmp_path / "w.safetensors")
    stage = replace(STAGE, backbone=BackboneSpec(name=name, weights=str(tmp_path / "w.safetensors"), batch=4))
    with pytest.raises(
        FeatureOverflowError, match=r"tokens: of video b, frame 0, reaches 1e\+06.*norm=after"
    ):
        run(stage, root, [B], tmp_path / "s.tar")


def chunk_of(indices):
    index = np.array(indices, np.int64)
    return FrameChunk(index, index / 10, np.broadcast_to(index[:, None, None, None], (len(index), 2, 2, 3)))


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("frames", [0, 1, 2, 7, 8, 9, 23, 24])
def test_how_frames_are_chunked_does_not_show(size, frames):
    expected = [size] * (frames // size)
    rest = frames % size
    expected += [1 << bit for bit in reversed(range(4)) if rest >> bit & 1]
    for split in (1, 2, 5, 8, 100):
        chunks = [chunk_of(range(start, min(start + split, frames))) for start in range(0, frames, split)]
        found = list(batches(chunks, size))
        assert [len(batch.index) for batch in found] == expected
        assert [i for batch in found for i in batch.index.tolist()] == list(range(frames))
        for batch in found:
            assert batch.pts.tolist() == [i / 10 for i in batch.index.tolist()]
            assert batch.rgb[:, 0, 0, 0].tolist() == batch.index.tolist()


def test_frames_are_taken_only_as_needed():
    taken = 0

    def endless():
        nonlocal taken
        while True:
            yield chunk_of(range(taken, taken + 3))
            taken += 3

    stream = batches(endless(), 8)
    for n in range(1, 50):
        next(stream)
        assert taken <= 8 * n + 3


def test_threads_of_the_process_are_left_alone(root, tmp_path):
    before = torch.get_num_threads()
    backbone = BackboneSpec(name="vit_tiny_patch16_224", weights="random", batch=4)
    run(replace(STAGE, backbone=backbone), root, [B], tmp_path / "s.tar")
    assert torch.get_num_threads() == before


TINY_VIT = BackboneSpec(name="vit_tiny_patch16_224", weights="random", facets=("tokens", "pixels"), batch=4)


@pytest.mark.parametrize("encoding", ["fp16", "int8"])
def test_masked_views_and_pixels_from_video_to_store(root, tmp_path, encoding):
    """Stored tokens of a masked view are those of the ViT on the stored patches of the stored pixels."""
    views = ViewsSpec(masked=2, masked_ratio=0.5)
    stage = replace(STAGE, backbone=TINY_VIT, views=views, encoding=encoding)
    artifact = artifact_at(tmp_path / "f")
    worker = stage.open(WorkContext(str(root), tmp_path))
    writer = stage.writer(tmp_path / "shard.tar", "000000")
    outcomes = []
    for outcome in worker.process([catalogued(root, A), catalogued(root, B)], writer, MemoryAttempts()):
        outcomes.append(outcome)
        writer.keep(outcome.video)
    worker.close()
    commit(artifact, "000000", writer.finish(), outcomes)
    store, shard = FeatureStore(artifact.root), ShardFeatures(artifact, "000000")
    encode = kept_encoder(TINY_VIT, grid=(2, 3))
    for video, count in (("a", 11), ("b", 6)):
        pixels = store.clip(video, facet="pixels")
        assert pixels.dtype == torch.uint8 and pixels.shape == (count, 32 * 48, 3)
        assert np.array_equal(shard.array(video, facet="pixels"), pixels)
        chosen = []
        for view in views.parts():
            kept = store.clip(video, facet="kept", view=view)
            assert kept.dtype == torch.int16 and kept.shape == (count, 3, 1)
            assert np.array_equal(shard.array(video, facet="kept", view=view), kept)
            expected = [kept_patches(video, view, f, 6, views) for f in store.frames(video)[0].tolist()]
            assert np.array_equal(kept[..., 0], expected)
            tokens = store.clip(video, facet="tokens", view=view).float()
            found = encode(pixels, kept[..., 0].long())
            off = found.abs().amax(dim=1, keepdim=True) / 127 if encoding == "int8" else found.abs() / 1024
            assert ((tokens - found).abs() <= off + 1e-3).all()
            chosen.append(kept)
        assert not torch.equal(*chosen)
        with pytest.raises(KeyError):
            store.clip(video, facet="pixels", view="mask0")


def test_a_timm_network_without_patches_is_refused_when_it_is_loaded(tmp_path):
    spec = BackboneSpec(name="resnet10t", weights="random")
    with pytest.raises(SettingsError, match="backbone resnet10t can't leave out patches"):
        replace(STAGE, backbone=spec, views=ViewsSpec(masked=1)).open(WorkContext("", tmp_path))
