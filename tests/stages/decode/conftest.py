from __future__ import annotations

import pytest

from stages.decode.client import DecoderClient
from stages.stage import Limits
from tests.stages.decode.media import write_video


@pytest.fixture(scope="session")
def client():
    """One client for all tests whose videos are harmless."""
    with_child = DecoderClient(Limits())
    yield with_child
    with_child.close()


@pytest.fixture(scope="session")
def clean(tmp_path_factory):
    """An intact H.264 file: 60 frames at 25 per second, key frames every 12, B-frames."""
    return write_video(tmp_path_factory.mktemp("media") / "clean.mp4")
