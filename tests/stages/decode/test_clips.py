"""Every clip of the outside data ends as its table implies, through the whole client."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from stages.decode.spec import Geometry
from stages.outcome import ERROR_CLASSES, MediaError
from stages.stage import MemoryAttempts
from tests.outside import listed, outside
from tests.stages.decode.media import collect, request

TABLES = listed("data", "clips", pattern="clips.csv")


def rows():
    if not TABLES:
        return [pytest.param(None, id="no-clips")]
    with open(TABLES[0], newline="") as table:
        return [pytest.param(row, id=row["file"]) for row in csv.DictReader(table)]


def is_decodable(row):
    return not row["decode_error"] and int(row["decodable_frames"] or 0) >= 1


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize("row", rows())
def test_clip(client, row, decoder):
    path = outside("data", "clips", row["file"] if row else "clips.csv")
    asked = request(path, decoder=decoder, geometry=Geometry(32), resizer="decoder")
    if not is_decodable(row):
        with pytest.raises(MediaError) as caught:
            collect(client, asked)
        assert caught.value.error_class in ERROR_CLASSES
        assert path.name in caught.value.message and str(path.parent) not in caught.value.message
        return
    index, pts, rgb, info = collect(client, asked)
    assert index.tolist() == list(range(int(row["decodable_frames"])))
    assert len(rgb) == len(index) and np.all(np.diff(pts) > 0)
    assert info["decoder"] in ("decord", "pyav")


@pytest.mark.parametrize("row", rows())
def test_probe(client, row):
    path = outside("data", "clips", row["file"] if row else "clips.csv")
    if not is_decodable(row):
        with pytest.raises(MediaError):
            client.probe("key", str(path), MemoryAttempts())
        return
    probe = client.probe("key", str(path), MemoryAttempts())
    assert probe.frames == int(row["decodable_frames"])
    assert (probe.height, probe.width) == (int(row["height"]), int(row["width"]))
    assert probe.rotation == -int(row["rotation"] or 0) % 360


def shorter_decodable_rows():
    rest = [p for p in rows() if p.values[0] and is_decodable(p.values[0])]
    return [p for p in rest if int(p.values[0]["decodable_frames"]) <= 130] or rows()[:1]


@pytest.mark.parametrize("row", shorter_decodable_rows())
def test_decord_and_pyav_show_the_same(client, row):
    path = outside("data", "clips", row["file"] if row else "clips.csv")
    both = [
        collect(client, request(path, decoder=d, stride=5, geometry=Geometry(96))) for d in ("auto", "pyav")
    ]
    assert np.array_equal(both[0][1], both[1][1])
    assert np.abs(both[0][2].astype(int) - both[1][2]).mean(axis=(1, 2, 3)).max() < 2.0


def test_table_has_both_kinds():
    kinds = {is_decodable(parameter.values[0]) for parameter in rows() if parameter.values[0]}
    outside("data", "clips", "clips.csv")
    assert kinds == {True, False}
