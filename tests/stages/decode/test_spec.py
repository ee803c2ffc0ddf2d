from __future__ import annotations

import subprocess
import sys

import pytest

from stages.decode.spec import DecodeRequest, DecodeSpec, Geometry, expected_frames
from stages.stage import canonical
from tests.outside import PROJECT


@pytest.mark.parametrize(
    ("size", "multiple", "source", "result"),
    [
        (None, 1, (360, 640), (360, 640)),
        (None, 14, (360, 640), (350, 630)),
        ((336, 504), 14, (1, 1), (336, 504)),
        (224, 1, (360, 640), (224, 398)),
        (224, 1, (640, 360), (398, 224)),
        (224, 16, (360, 640), (224, 384)),
        (None, 14, (2, 2), (14, 14)),
        (8, 16, (100, 100), (16, 16)),
    ],
)
def test_geometry(size, multiple, source, result):
    assert Geometry(size, multiple).resolve(*source) == result


@pytest.mark.parametrize(
    "settings",
    [
        {"fps": 0},
        {"fps": -1.0},
        {"fps": "none"},
        {"fps": float("nan")},
        {"stride": 0},
        {"decoder": "ffmpeg"},
        {"decoder": "module:"},
        {"decoder": "a b:C"},
    ],
)
def test_refuses_impossible_settings(settings):
    with pytest.raises(ValueError, match="decode\\."):
        DecodeSpec(**settings)


def test_refuses_impossible_segments_and_sizes():
    for wrong in ({"start": -1}, {"frames": -1}, {"chunk": 0}):
        with pytest.raises(ValueError, match="impossible"):
            DecodeRequest("key", "path", **wrong)
    for size in (0, (0, 4), (4, -1)):
        with pytest.raises(ValueError, match="positive"):
            Geometry(size)


def test_settings_can_be_fingerprinted():
    assert canonical(DecodeSpec())["fps"] == 5
    assert canonical(DecodeSpec(decoder="my.module:Class", fps="all"))["decoder"] == "my.module:Class"


@pytest.mark.parametrize(
    ("frames", "fps", "spec", "clock", "expected"),
    [
        (250, 25.0, DecodeSpec(), None, 50),
        (250, 25.0, DecodeSpec(fps="all"), None, 250),
        (250, 25.0, DecodeSpec(stride=7), None, 36),
        (250, None, DecodeSpec(), None, 250),
        (250, None, DecodeSpec(), 50.0, 25),
        (3, 1.0, DecodeSpec(), None, 3),
        (1, 1000.0, DecodeSpec(), None, 1),
        (0, 25.0, DecodeSpec(), None, 0),
    ],
)
def test_expected_frames(frames, fps, spec, clock, expected):
    assert expected_frames(frames, fps, spec, clock) == expected


def test_plans_import_nothing_heavy():
    code = (
        "import sys, stages.decode.spec as s; s.expected_frames(9, 3.0, s.DecodeSpec());"
        "print(sorted({'torch','ray','av','decord','numpy','PIL'} & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"
