"""Several clients as one decoder."""

from __future__ import annotations

from pathlib import Path

from stages.decode.client import DecoderClient
from stages.decode.placing import SideBySide, open_decoder
from stages.stage import Limits, MemoryAttempts, WorkContext
from tests.stages.decode.media import request, write_video


def test_videos_come_in_order_and_are_begun_before_their_turn(tmp_path):
    """More videos than clients, some left early; the first of every client is decoded at once."""
    paths = [write_video(tmp_path / f"{n}.mp4", count=4 + n) for n in range(5)]
    clients = [DecoderClient(Limits()) for _ in range(2)]
    decoder = SideBySide(clients)
    try:
        seen, begun = [], 0
        for video in decoder.decode([request(path, chunk=2) for path in paths], MemoryAttempts()):
            begun = begun or sum(client._reader is not None for client in clients)
            taken = [] if video.key == Path(paths[1]).name else list(video)
            seen.append((video.key, sum(len(chunk) for chunk in taken)))
        assert begun == 2
        assert seen == [("0.mp4", 4), ("1.mp4", 0), ("2.mp4", 6), ("3.mp4", 7), ("4.mp4", 8)]
    finally:
        decoder.close()


def test_the_runner_says_who_decodes(tmp_path):
    asked = []
    context = WorkContext("", tmp_path, limits=Limits(attempts=7))
    assert isinstance(open_decoder(context), DecoderClient)
    elsewhere = SideBySide([])
    elsewhere_context = WorkContext(
        "", tmp_path, limits=Limits(attempts=7), decoding=lambda given: asked.append(given) or elsewhere
    )
    assert open_decoder(elsewhere_context) is elsewhere
    assert asked == [Limits(attempts=7)]
