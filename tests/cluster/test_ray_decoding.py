"""Decode actors on a Ray of this process: frames, faults, lost actors, and what waits in the object store."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from cluster import ray_setup
from cluster.placement import Pool
from cluster.ray_decoding import IN_STORE, RemoteChild, RemoteDecoding, decode_actors
from stages.decode.client import DecoderClient
from stages.decode.process import POLL_S
from stages.decode.spec import Geometry
from stages.outcome import MediaError
from stages.stage import Limits, MemoryAttempts
from tests.faults.processes import wait_until
from tests.stages.decode.media import collect, request, write_video

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
