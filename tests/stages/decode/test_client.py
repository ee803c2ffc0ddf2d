"""The client against decoders that crash, hang and grow, and against consumers that are slow or leave."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from stages.decode.client import DecoderClient
from stages.decode.decoders.base import DecoderUnavailableError
from stages.decode.spec import Geometry
from stages.outcome import MediaError
from stages.stage import Limits, MemoryAttempts
from tests.faults.gates import shut
from tests.faults.processes import PATIENCE_S
from tests.outside import PROJECT
from tests.stages.decode.media import collect, request

BAD = "tests.stages.decode.bad_decoders:Bad"
STRICT = Limits(memory_mb=400, attempts=2)


ELSEWHERE = set()
"""Processes that tests of other files, which this process ran before, have left to their session."""


@pytest.fixture(scope="module", autouse=True)
def only_ours():
    ELSEWHERE.update(psutil.Process().children())


def decoder_children():
    """Decoder children of these tests, dead ones that nobody collected included; there may be others."""
    return [
        child
        for child in psutil.Process().children()
        if child not in ELSEWHERE
        and (child.status() == psutil.STATUS_ZOMBIE or "stages.decode.child" in child.cmdline())
    ]


@pytest.fixture
def quick():
    client = DecoderClient(STRICT)
    yield client
    client.close()


def linked(clean, tmp_path, name):
    path = tmp_path / name
    os.link(clean, path)
    return path


def outcomes(client, paths, attempts, **settings):
    """Frames, or the error, of each path."""
    asked = [request(p, **settings) for p in paths]
    found = []
    for video in client.decode(asked, attempts):
        try:
            found.append(sum(len(chunk) for chunk in video))
        except MediaError as error:
            found.append(error)
    return found


@pytest.mark.parametrize(
    ("kind", "error_class", "message"),
    [
        ("segfault", "crash", "the decoder process was killed by SIGSEGV"),
        ("exit", "crash", "the decoder process ended with exit code 7"),
        ("raise", "crash", "the decoder raised ArithmeticError"),
        ("hang", "timeout", "no sign of life within 3 s"),
        ("spin", "timeout", "no sign of life within 3 s"),
        ("grow", "memory", "decoding it takes more than 400 MiB of memory"),
    ],
)
def test_a_bad_decoder_costs_one_video(clean, tmp_path, kind, error_class, message):
    tries = 1 if error_class == "timeout" else 2  # so that it may wait long, for a good one on a slow machine
    limits = Limits(timeout_s=3.0 if error_class == "timeout" else 60.0, memory_mb=400, attempts=tries)
    client = DecoderClient(limits)
    paths = [linked(clean, tmp_path, name) for name in ("good-1.mp4", f"{kind}-2.mp4", "good-3.mp4")]
    attempts = MemoryAttempts()
    first, bad, last = outcomes(client, paths, attempts, decoder=BAD)
    assert (first, last) == (60, 60)
    assert (bad.error_class, bad.message, bad.attempts) == (error_class, f"{kind}-2.mp4: {message}", tries)
    assert [attempts.count(p.name) for p in paths] == [0, tries, 0]
    client.close()


def test_a_decoder_that_fails_once_gives_the_whole_video_once(quick, clean, tmp_path):
    whole = collect(quick, request(clean, decoder="pyav"))
    attempts = MemoryAttempts()
    path = linked(clean, tmp_path, "once-1.mp4")
    # three chunks are delivered before the first child dies
    index, pts, rgb, _ = collect(quick, request(path, decoder=BAD, chunk=3), attempts)
    assert attempts.count(path.name) == 1
    assert np.array_equal(index, whole[0]) and np.array_equal(pts, whole[1]) and np.array_equal(rgb, whole[2])


def test_attempts_that_an_ended_run_has_spent_count(quick, clean, tmp_path):
    path = linked(clean, tmp_path, "exit-1.mp4")
    for before in (1, 2):
        attempts = MemoryAttempts()
        for _ in range(before):
            attempts.record(path.name)
        (error,) = outcomes(quick, [path], attempts, decoder=BAD)
        assert (error.error_class, error.attempts, attempts.count(path.name)) == ("crash", 2, 2)


def test_named_errors_are_not_tried_again(quick, tmp_path):
    (tmp_path / "empty.mp4").touch()
    attempts = MemoryAttempts()
    (error,) = outcomes(quick, [tmp_path / "empty.mp4"], attempts)
    assert error.error_class == "empty_file" and error.attempts == 1 and attempts.count("empty.mp4") == 0


def test_a_decoder_that_gives_too_few_frames_is_a_reject(quick, clean):
    decoder = "tests.stages.decode.bad_decoders:Short"
    (error,) = outcomes(quick, [clean], MemoryAttempts(), decoder=decoder)
    assert error.error_class == "decode_error" and "fewer frames" in error.message


@pytest.mark.parametrize("decoder", ["no.such:Decoder", "tests.stages.decode.bad_decoders:Missing", "images"])
def test_a_decoder_that_is_not_there_is_no_fault_of_the_video(quick, clean, decoder):
    with pytest.raises(DecoderUnavailableError, match=r"decode\.decoder="):
        outcomes(quick, [clean], MemoryAttempts(), decoder=decoder)
    assert outcomes(quick, [clean], MemoryAttempts()) == [60]


def test_memory_is_watched_while_the_consumer_is_slow(clean, tmp_path):
    """The decoder grows when nobody asks for anything: its child ends nevertheless."""
    client = DecoderClient(Limits(memory_mb=400, attempts=1))
    path = linked(clean, tmp_path, "grow-1.mp4")
    asked = request(path, decoder=BAD, chunk=2, geometry=Geometry(16))
    video = next(client.decode([asked], MemoryAttempts()))
    chunks = iter(video)
    with shut(path):
        next(chunks)
        (child,) = decoder_children()
    assert psutil.wait_procs([child], timeout=PATIENCE_S)[1] == []
    with pytest.raises(MediaError) as caught:
        list(chunks)
    assert caught.value.error_class == "memory"
    client.close()


def test_a_slow_consumer_is_no_timeout(clean):
    client = DecoderClient(Limits(timeout_s=2.0))
    asked = request(clean, chunk=1, geometry=Geometry((400, 500)), decoder="pyav")
    count = 0
    for video, pause in zip(client.decode([asked] * 2, MemoryAttempts()), (0, 30), strict=True):
        for number, chunk in enumerate(video):
            count += len(chunk)
            if number == pause:
                time.sleep(3)
    assert count == 120
    client.close()


def test_decoding_runs_ahead_over_the_border_of_videos(clean):
    client = DecoderClient(Limits())
    videos = client.decode([request(clean, frames=2), request(clean, frames=2, start=20)], MemoryAttempts())
    first = next(videos)
    assert sum(len(c) for c in first) == 2
    assert client._reader is not None
    client._reader.result(timeout=PATIENCE_S)  # the reader has finished the second video before anybody asked
    assert [c.index.tolist() for c in next(videos)] == [[20, 21]]
    client.close()


def test_what_waits_for_the_consumer_is_bounded(clean):
    client = DecoderClient(Limits())
    video = next(client.decode([request(clean, chunk=1, geometry=Geometry((600, 800)))], MemoryAttempts()))
    chunks = iter(video)
    next(chunks)
    before = psutil.Process().memory_info().rss
    time.sleep(1.5)
    # 56 more frames of 1.4 MB would be 80 MB
    assert psutil.Process().memory_info().rss - before < 30e6
    assert sum(len(c) for c in chunks) == 59
    client.close()


def test_leaving_early_hangs_nowhere(clean):
    client = DecoderClient(Limits())
    begun = time.monotonic()
    asked = [request(clean, chunk=1)] * 3
    for video in client.decode(asked, MemoryAttempts()):
        next(iter(video))  # one chunk, then the next video
    for video in client.decode(asked, MemoryAttempts()):
        next(iter(video))
        break
    del video
    gc.collect()
    client.decode(asked, MemoryAttempts())  # never begun
    assert outcomes(client, [clean], MemoryAttempts()) == [60]
    left = client.decode(asked, MemoryAttempts())
    kept = next(left)
    next(iter(kept))
    client.close()
    assert time.monotonic() - begun < PATIENCE_S
    with pytest.raises(RuntimeError, match="closed"):
        list(kept)


def test_nothing_is_left_behind(clean, tmp_path):
    crash = linked(clean, tmp_path, "segfault-1.mp4")
    me = psutil.Process()

    def use():
        client = DecoderClient(STRICT)
        outcomes(client, [clean, crash, clean], MemoryAttempts(), decoder=BAD)
        client.close()
        client.close()

    use()
    fds, threads = me.num_fds(), threading.active_count()
    for _ in range(2):
        use()
    assert (me.num_fds(), threading.active_count()) == (fds, threads)
    assert decoder_children() == []


def test_children_are_replaced_after_their_share(clean):
    client = DecoderClient(Limits(recycle_videos=2))
    pids = []
    for _ in range(4):
        client.probe("key", clean, MemoryAttempts())
        pids.append(decoder_children()[0].pid)
    client.close()
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_the_child_imports_neither_torch_nor_ray_and_works_in_one_thread(clean):
    client = DecoderClient(Limits())
    collect(client, request(clean, resizer="torch", geometry=Geometry(40)))
    (child,) = decoder_children()
    mapped = {os.path.basename(m.path) for m in child.memory_maps()}
    assert not [m for m in mapped if "torch" in m or "_raylet" in m]
    assert child.environ()["OMP_NUM_THREADS"] == "1"
    client.close()


@pytest.mark.parametrize("kind", ["idle", "hang", "spin"])
def test_the_child_dies_with_its_parent(clean, tmp_path, kind):
    """Also in the middle of a C function that holds the interpreter."""
    path = linked(clean, tmp_path, f"{kind}-1.mp4")
    code = (
        "import sys, time, psutil\n"
        "from stages.decode.client import DecoderClient\n"
        "from stages.stage import Limits, MemoryAttempts\n"
        "from tests.stages.decode.media import request\n"
        "client = DecoderClient(Limits())\n"
        "asked = request(sys.argv[1], decoder=sys.argv[2], frames=int(sys.argv[3]), chunk=2)\n"
        "for video in client.decode([asked], MemoryAttempts()):\n"
        "    chunks = iter(video)\n"
        "    for _ in range(4): next(chunks)\n"
        "    time.sleep(0.5)\n"
        "    print(psutil.Process().children()[0].pid, flush=True)\n"
        "    time.sleep(3600)\n"
    )
    command = [sys.executable, "-c", code, str(path), BAD, "60"]
    parent = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    gone, _ = psutil.wait_procs([child], timeout=PATIENCE_S)
    assert gone, "the child outlives its parent"


def test_prints_of_decoders_do_not_disturb(quick, clean):
    decoder = "tests.stages.decode.bad_decoders:Noisy"
    assert outcomes(quick, [clean], MemoryAttempts(), decoder=decoder) == [60]


def test_memory_does_not_grow_with_the_length_of_the_video(tmp_path):
    from tests.stages.decode.media import write_video

    peaks = []
    for count in (60, 900):
        path = write_video(
            tmp_path / f"{count}.mp4", count=count, height=240, width=320, options={"preset": "ultrafast"}
        )
        client = DecoderClient(Limits())
        peak = 0
        for video in client.decode([request(path, fps=5.0, decoder="pyav")], MemoryAttempts()):
            for _ in video:
                peak = max(peak, decoder_children()[0].memory_info().rss)
        peaks.append(peak)
        client.close()
    assert peaks[1] < 1.1 * peaks[0]
