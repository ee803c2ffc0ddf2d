"""Decode actors on a Ray of this process: frames, faults, lost actors, and what waits in the object store."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from cluster import ray_setup
from cluster.cpu_time import spent_elsewhere
from cluster.local import LocalRunner
from cluster.placement import Pool
from cluster.ray_decoding import IN_STORE, RemoteChild, RemoteDecoding, decode_actors
from configs.compose import compose
from pipelines.graph import build
from pipelines.planning import Options, make_plan
from stages.decode.client import DecoderClient
from stages.decode.process import POLL_S
from stages.decode.spec import Geometry
from stages.outcome import MediaError
from stages.stage import Limits, MemoryAttempts
from tests.cli import digests
from tests.e2e.test_naming import CLIP
from tests.faults.processes import wait_until
from tests.media import make_corpus
from tests.stages.decode.media import collect, request, write_video
from tests.stages.pretraining import making as pretraining

LIMITS = Limits()
FRAMES = 60


@pytest.fixture(scope="module")
def actors():
    """Two decoders, each with a CPU, on a Ray of their own."""
    ray_setup.connect(None, 2)
    here = ray_setup.ray.get_runtime_context().get_node_id()
    with decode_actors(Pool("decoders", 2, {"CPU": 1.0}), [here, here], LIMITS) as found:
        yield found
    ray_setup.ray.shutdown()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [
        Path(write_video(folder / name))
        for name in ("a.mp4", "b.mp4", "once-c.mp4", "segfault-d.mp4", "e.mp4")
    ]


def running(actors):
    """Videos that the actors decode just now."""
    return sum(asked(actor, "running") for actor in actors)


def asked(actor, name):
    """What the actor's method says, as soon as it is back if it was lost."""
    while True:
        try:
            return ray_setup.ray.get(getattr(actor, name).remote())
        except ray_setup.ray.exceptions.ActorUnavailableError:
            time.sleep(POLL_S)


def test_frames_and_faults_are_those_of_a_child_beside_the_worker(actors, videos):
    """Order, pictures, times, what a video that kills its decoder costs, and the errors' words."""
    requests = [request(path, chunk=7, decoder="tests.stages.decode.bad_decoders:Bad") for path in videos] + [
        request(videos[0].with_name("gone.mp4"))
    ]
    found = []
    for decoder in (RemoteDecoding(actors, 3)(LIMITS), DecoderClient(LIMITS)):
        videos[2].with_suffix(".tried").unlink(missing_ok=True)
        attempts, seen = MemoryAttempts(), []
        for video in decoder.decode(requests, attempts):
            chunks, error = [], None
            try:
                chunks += video
            except MediaError as met:
                error = met.error_class, met.message, met.attempts
            assert all(chunk.rgb.flags.writeable for chunk in chunks)
            frames = [
                np.concatenate([getattr(c, name) for c in chunks])
                for name in ("index", "pts", "rgb")
                if chunks
            ]
            seen.append(
                (video.key, [part.tobytes() for part in frames], video.info, error, attempts.count(video.key))
            )
        decoder.close()
        found.append(seen)
    assert found[0] == found[1]
    assert [(error and error[0], count) for *_, error, count in found[0]] == [
        (None, 0), (None, 0), (None, 1), ("crash", 2), (None, 0), ("unreadable", 0),
    ]  # fmt: skip


def test_what_decoders_spend_is_told_to_the_owner(actors, videos, monkeypatch):
    """Once, as the kernel counts it for their children; also for a video that kills its decoder each time."""
    told = []
    monkeypatch.setattr("cluster.ray_decoding.spent_elsewhere", told.append)
    decoder = RemoteDecoding(actors, 2)(LIMITS)
    settings = {"geometry": Geometry((480, 640)), "decoder": "tests.stages.decode.bad_decoders:Bad"}
    before = spent_by_children(actors)
    for video in decoder.decode([request(path, **settings) for path in videos[:2]], MemoryAttempts()):
        list(video)
    spent = sum(cpu - before.get(pid, 0.0) for pid, cpu in spent_by_children(actors).items())
    assert spent > 0.05
    assert sum(told) == pytest.approx(spent, abs=0.1)
    told.clear()
    with pytest.raises(MediaError, match="SIGSEGV"):
        collect(decoder, request(videos[3], chunk=FRAMES, **settings))
    assert sum(told) > 0.02, "both died with their first chunk"
    decoder.close()


def spent_by_children(actors):
    """CPU seconds of the actors' decoder children so far, by process id."""
    children = [child for actor in actors for child in psutil.Process(asked(actor, "pid")).children()]
    return {child.pid: sum(child.cpu_times()[:2]) for child in children}


def test_features_and_embeddings_have_the_bytes_of_fused_decoding(actors, tmp_path, monkeypatch):
    """The chain of `label_corpus`, in this process but for its decoders; its receipts count them."""
    root, clip = make_corpus(tmp_path / "videos", 3, frames=8), tmp_path / "clip.json"
    (root / "text.mp4").write_text("no video")
    clip.write_text(json.dumps(CLIP))
    settings = [
        f"data.root={root}", "decode.fps=all", "decode.size=[48,64]", "layout.shard_videos=2", "model=kmeans",
        "backbone={name: patchstats, stride: 8, facets: [tokens, rgb]}", "kmeans={facet: rgb, clusters: 3}",
        f"label.model={clip}", "label.weights=random", "label.vocabulary=cat,dog", "run.device=cpu",
    ]  # fmt: skip
    much = 1000.0  # more than all else here spends, on top of each answer
    monkeypatch.setattr("cluster.ray_decoding.spent_elsewhere", lambda spent: spent_elsewhere(spent + much))
    for placement, decoding in (("fused", None), ("remote", RemoteDecoding(actors, 2))):
        graph = build(compose("label_corpus", [], [*settings, f"store={tmp_path / placement}"]))
        plan = make_plan(graph, Options(), record=True)
        chain = tuple(
            replace(bound, context=replace(bound.context, decoding=decoding if bound.stage.decodes else None))
            for bound in graph.chain
        )
        receipts = list(LocalRunner().run(chain, plan.tasks, "run"))
        assert [receipt.error for receipt in receipts if receipt.error] == []
        assert sum(receipt.done for receipt in receipts) == 3 * len(chain)
        counted = {graph.chain[receipt.level].stage.kind for receipt in receipts if receipt.cpu > much}
        assert counted == ({"features", "embeddings"} if decoding else set())
    assert digests(tmp_path / "remote") == digests(tmp_path / "fused") != {}


def test_a_training_on_streamed_clips_gives_the_model_of_fused_decoding(actors, tmp_path):
    """With what could not be decoded, and what came in its place."""
    corpus, stage = pretraining.corpus_in(tmp_path / "corpus", clips=1), pretraining.lasting(2)
    names, found = ("videomae.safetensors", "rejects.parquet"), []
    for decoding in (None, RemoteDecoding(actors, 1)):
        folder = tmp_path / f"model{len(found)}"
        folder.mkdir()
        stage.make([], folder, pretraining.context_for(corpus, decoders=2, decoding=decoding))
        found.append([(folder / name).read_bytes() for name in names])
    assert found[0] == found[1]


def test_a_slow_consumer_keeps_the_store_small(actors, videos):
    """The chunks that nobody has taken wait in the decoder, not in the object store."""
    chunk = 4 * 480 * 640 * 3
    requests = [request(path, chunk=4, geometry=Geometry((480, 640))) for path in videos[:2]]
    decoder = RemoteDecoding(actors, 2)(LIMITS)

    def stored():
        free = ray_setup.ray.available_resources()["object_store_memory"]
        return ray_setup.ray.cluster_resources()["object_store_memory"] - free

    video = next(decoder.decode(requests, MemoryAttempts()))
    next(iter(video))
    wait_until(lambda: stored() >= chunk, "frames in the store")
    end, most = time.monotonic() + 2, 0
    while time.monotonic() < end:  # nobody takes any more
        most = max(most, stored())
        time.sleep(POLL_S)
    decoder.close()
    assert most <= 2 * (IN_STORE + 1) * chunk * 1.1, "two streams"


def test_a_lost_decoder_costs_nothing_but_time(actors, videos):
    """Killed in the middle of a video: another one gives the rest, and no attempt is counted."""
    whole = collect(RemoteDecoding(actors, 1)(LIMITS), request(videos[0], chunk=4))
    decoder = DecoderClient(LIMITS, lambda limits: RemoteChild(actors, limits), read_ahead=1)
    attempts = MemoryAttempts()
    video = next(decoder.decode([request(videos[0], chunk=4)], attempts))
    chunks = iter(video)
    got = [next(chunks)]
    busy = next(actor for actor in actors if asked(actor, "running"))
    os.kill(asked(busy, "pid"), signal.SIGKILL)
    got += chunks
    decoder.close()
    assert np.array_equal(np.concatenate([c.rgb for c in got]), whole[2])
    assert attempts.count(videos[0].name) == 0
    assert np.concatenate([c.index for c in got]).tolist() == list(range(FRAMES))


def test_what_nobody_waits_for_is_not_decoded_on(actors, videos):
    decoder = RemoteDecoding(actors, 2)(LIMITS)
    next(iter(next(decoder.decode([request(path, chunk=1) for path in videos[:2]], MemoryAttempts()))))
    assert running(actors) > 0
    decoder.close()
    wait_until(lambda: not running(actors), "end of decoding", every=POLL_S)
