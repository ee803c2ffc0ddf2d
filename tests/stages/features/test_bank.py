"""Features that depend on the clip, from real files: runs of the whole video, and the bank of drawn clips."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from stages.artifacts.commit import commit
from stages.artifacts.manifest import read_rows
from stages.decode.client import DecoderClient
from stages.decode.frames import FrameChunk
from stages.decode.spec import DecodeRequest, DecodeSpec, Geometry
from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec
from stages.features.backbones.base import build
from stages.features.bank import ClipGatherer, drawn_clips
from stages.features.stage import FeaturesStage
from stages.features.store import tar
from stages.features.store.check import damaged_members
from stages.features.store.reader import FeatureStore
from stages.features.store.samplers import BankClip, ClipSampler
from stages.features.store.shard_features import ShardFeatures
from stages.features.views import ViewsSpec
from stages.features.worker import batches
from stages.outcome import Done
from stages.stage import Limits, MemoryAttempts, WorkContext
from tests.media import make_video
from tests.stages.features.store.making import artifact_at
from tests.stages.features.test_stage_worker import row, run

CLIPS = 3
STAGE = FeaturesStage(
    BackboneSpec("videomae_vitt8", "random", facets=("tokens", "pixels"), batch=16),
    DecodeSpec(fps="all"),
    Geometry((16, 24)),
    ViewsSpec(clips=CLIPS, clip_strides=(1, 2, 4)),
)
FRAMES = {"a": 29, "b": 5}
EXPECTED = {"a": 40, "b": 5}  # as the catalog said; more than there are


def test_drawn_clips():
    spec = ViewsSpec(clips=400)
    clips = drawn_clips("v", 60, 8, spec)
    strides = Counter(clip[1] - clip[0] for clip in clips)
    assert strides.keys() == {1, 2, 4, 8} and min(strides.values()) > 70
    for stride, last in ((1, 52), (2, 45), (4, 31), (8, 3)):
        starts = [clip[0] for clip in clips if clip[1] - clip[0] == stride]
        assert min(starts) == 0 and max(starts) == last
    assert [list(c) for c in clips[:3]] == [list(c) for c in drawn_clips("v", 60, 8, replace(spec, clips=3))]
    assert clips != drawn_clips("w", 60, 8, spec) and clips != drawn_clips(
        "v", 60, 8, ViewsSpec(seed=1, clips=400)
    )
    short = {tuple(clip) for clip in drawn_clips("v", 7, 8, spec)}
    assert short == {(0, 1, 2, 3, 4, 5, 6, 6), (0, 2, 4, 6, 6, 6, 6, 6), (0, 4, 4, 4, 4, 4, 4, 4), (0,) * 8}


def test_no_more_frames_are_held_than_clips_have():
    gatherer = ClipGatherer([(0, 8), (3, 3)])
    for start in range(0, 40, 4):
        index = np.arange(start, start + 4)
        gatherer.see(
            FrameChunk(index, index / 10, np.full((4, 2, 2, 3), index[:, None, None, None], np.uint8))
        )
    assert sorted(gatherer._kept) == [0, 3, 8]
    (both,) = gatherer.chunks(2)
    assert both.rgb[:, 0, 0, 0].tolist() == [0, 8, 3, 3]
    assert both.index.tolist() == [0, 1, 2, 3] and both.pts.tolist() == [0.0, 0.8, 0.3, 0.3]


def test_runs_are_not_parted():
    chunk = FrameChunk(np.arange(51), np.arange(51) / 10, np.zeros((51, 1, 1, 3), np.uint8))
    assert [len(b) for b in batches([chunk], 16, 8)] == [16, 16, 16, 3]
    assert [len(b) for b in batches([chunk], 64, 8)] == [32, 16, 3]
    assert [len(b) for b in batches([chunk], 16)] == [16, 16, 16, 2, 1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_bank(tmp_path_factory.mktemp("bank"))


def make_bank(root):
    """In ``root`` two videos and the artifact of their features; both, and the bytes of its only shard."""
    for video, frames in FRAMES.items():
        make_video(root / f"{video}.mp4", frames, (32, 48), seed=frames)
    artifact = artifact_at(root / "features")
    rows = [row(video, f"{video}.mp4", EXPECTED[video]) for video in FRAMES]
    outcomes, written = run(STAGE, root, rows, root / "features" / "shards" / ".000000.tmp")
    assert [outcome.info["frames"] for outcome in outcomes if isinstance(outcome, Done)] == [29, 5]
    size = written.bytes
    commit(artifact, "000000", written, outcomes)
    return root, artifact, size


def decoded(root, video):
    client, path = DecoderClient(Limits()), str(root / f"{video}.mp4")
    request = DecodeRequest(video, path, spec=STAGE.decode, geometry=STAGE.frame_geometry(), chunk=100)
    (chunk,) = next(iter(client.decode([request], MemoryAttempts())))
    client.close()
    return chunk


@pytest.mark.parametrize("video", FRAMES)
def test_runs_and_clips_are_those_of_the_model(made, video):
    root, artifact, _ = made
    store, frames = FeatureStore(artifact.root, verify=True), FRAMES[video]
    chunk, model = decoded(root, video), build(replace(STAGE.backbone, batch=8))
    alone = np.concatenate([model.extract(chunk.rgb[i : i + 8])["tokens"] for i in range(0, frames, 8)])
    close = {"rtol": 2**-9, "atol": 2e-4}  # the store's runs went through the model two at a time
    np.testing.assert_allclose(store.array(video), alone, **close)
    assert np.array_equal(store.array(video, facet="pixels").reshape(chunk.rgb.shape), chunk.rgb)

    bank, (index, pts) = store.array(video, view="bank"), store.frames(video, "bank")
    assert index.tolist() == list(range(8 * CLIPS)) and store.count(video, "bank") == 8 * CLIPS
    beyond = False
    for number, clip in enumerate(drawn_clips(video, EXPECTED[video], 8, STAGE.views)):
        beyond |= max(clip) >= frames
        shown = [min(position, frames - 1) for position in clip]
        part = slice(8 * number, 8 * number + 8)
        assert pts[part].tolist() == chunk.pts[shown].tolist()
        np.testing.assert_allclose(bank[part], model.extract(chunk.rgb[shown])["tokens"], **close)
    assert beyond == (video == "a"), "one video turned out shorter than expected, the other did not"


def test_readers_know_both_lists_of_frames(made):
    _, artifact, size = made
    store, shard = FeatureStore(artifact.root), ShardFeatures(artifact, "000000", verify=True)
    assert store.views == ("bank", "base") and store.facets == ("pixels", "tokens")
    assert store.counts().tolist() == [29, 5] and store.counts("bank").tolist() == [24, 24]
    for video, frames in FRAMES.items():
        assert store.count(video) == frames and store.frames(video)[0].tolist() == list(range(frames))
        assert store.shape(video) == (frames, 6, 192) and store.shape(video, view="bank") == (24, 6, 192)
        for view in store.views:
            assert [a.tolist() for a in shard.frames(video, view)] == [
                a.tolist() for a in store.frames(video, view)
            ]
            assert np.array_equal(shard.array(video, view=view), store.array(video, view=view))
    with pytest.raises(KeyError, match="no facet 'pixels' of view 'bank'"):
        store.array("a", view="bank", facet="pixels")
    estimate = sum(STAGE.estimate({**row(v, "", n), "height": 32, "width": 48})[1] for v, n in FRAMES.items())
    assert size - estimate == len(tar.END)


def test_a_damaged_clip_is_found(made, tmp_path):
    _, artifact, _ = made
    rows = read_rows(artifact, "000000")
    hit = next(r for r in rows.to_pylist() if (r["video"], r["view"], r["frame"]) == ("b", "bank", 20))
    data = bytearray(artifact.shard("000000").read_bytes())
    data[hit["offset"] + hit["size"] - 1] ^= 1
    (tmp_path / "s.tar").write_bytes(data)
    assert damaged_members(artifact.shard("000000"), rows) == []
    assert damaged_members(tmp_path / "s.tar", rows) == ["b"]


def test_clips_of_a_bank_are_sampled_whole(made):
    store = FeatureStore(made[1].root)
    sampler = ClipSampler(store, BankClip(8, clips_per_video=2), seed=1, view="bank")
    seen = set()
    for sampler.epoch in range(6):
        clips = list(sampler)
        assert [clips[0].video, clips[2].video] == [clips[1].video, clips[3].video]
        for first, second in (clips[:2], clips[2:]):
            assert first.positions != second.positions
        for clip in clips:
            start = clip.positions[0]
            assert start % 8 == 0 and clip.positions == tuple(range(start, start + 8)) and all(clip.mask)
            seen.add((clip.video, start))
    assert len(seen) == 2 * CLIPS


def test_a_backbone_of_ones_own_must_encode_clips(made, tmp_path):
    own = BackboneSpec("tests.stages.features.test_bank:alone", "random")
    with pytest.raises(SettingsError, match="encodes every frame alone"):
        replace(STAGE, backbone=own).open(WorkContext(str(made[0]), tmp_path))


def alone(spec, device, threads):
    return build(BackboneSpec("patchstats"))
