import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.features.store import ranges
from stages.features.store.ranges import LocalFiles, ShortReadError, runs

DATA = bytes(i * 31 % 251 for i in range(20_000))


@st.composite
def pieces_of(draw: st.DrawFn, end: int = len(DATA)) -> list[tuple[int, memoryview]]:
    """Rising pieces that do not overlap, some adjacent, some far apart."""
    found, at = [], draw(st.integers(0, 50))
    for _ in range(draw(st.integers(0, 12))):
        size = draw(st.integers(1, 600))
        if at + size > end:
            break
        found.append((at, memoryview(bytearray(size))))
        at += size + draw(st.one_of(st.just(0), st.integers(0, 40), st.integers(0, 3000)))
    return found


@given(pieces_of(), st.sampled_from([0, 1, 20, 1000, 4096, 10**6]))
def test_runs_cover_exactly_and_never_overlap(pieces: list[tuple[int, memoryview]], gap: int) -> None:
    found = runs(pieces, gap)
    seen = []
    for start, stop, buffers in found:
        assert sum(map(len, buffers)) == stop - start
        at = start
        for buffer in buffers:
            if any(buffer is target for _, target in pieces):
                seen.append((at, buffer))
            else:
                assert len(buffer) <= gap
            at += len(buffer)
        assert buffers[0] is seen[-len([b for b in buffers if any(b is t for _, t in pieces)])][1]
        assert buffers[-1] is seen[-1][1]  # neither begins nor ends with what nobody wants
    assert [(at, id(buffer)) for at, buffer in seen] == [(at, id(target)) for at, target in pieces]
    for (_, stop, _), (start, _, _) in pairwise(found):
        assert start - stop > gap


@pytest.mark.parametrize("starts", [(0, 5), (10, 0), (3, 3)])
def test_overlapping_pieces_are_refused(starts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="begins before"):
        runs([(start, memoryview(bytearray(10))) for start in starts], 100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranges")
    for name in "abcde":
        (folder / name).write_bytes(DATA)
    return folder


@given(pieces_of())
@settings(max_examples=50)
def test_local_reads_fill_every_piece(folder: Path, pieces: list[tuple[int, memoryview]]) -> None:
    read = LocalFiles(str(folder)).read("a", pieces)
    assert all(target == DATA[at : at + len(target)] for at, target in pieces)
    assert read == sum(stop - start for start, stop, _ in runs(pieces, ranges.LOCAL_GAP))


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_more_buffers_than_the_system_takes(
    folder: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_MAX_BUFFERS", limit)
    pieces = [(at, memoryview(bytearray(7))) for at in range(0, 700, 10)]
    assert LocalFiles(str(folder)).read("a", pieces) == 697
    assert all(target == DATA[at : at + 7] for at, target in pieces)


def test_systems_that_read_less_than_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def three_bytes(fd: int, buffers: list[memoryview], offset: int) -> int:
        return os.preadv(fd, [buffers[0][:3]], offset)

    for substitute in (three_bytes, ranges._pread_first):
        monkeypatch.setattr(ranges, "_preadv", substitute)
        pieces = [(at, memoryview(bytearray(8))) for at in (5, 13, 30)]
        LocalFiles(str(folder)).read("a", pieces)
        assert all(target == DATA[at : at + 8] for at, target in pieces)


def test_the_end_of_the_file_is_an_error(folder: Path) -> None:
    with pytest.raises(ShortReadError, match="ends 5 bytes before"):
        LocalFiles(str(folder)).read("a", [(len(DATA) - 10, memoryview(bytearray(15)))])


def test_open_files_are_bounded(folder: Path) -> None:
    files = LocalFiles(str(folder), max_open=2)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else None
    for name in "abcdeabcde":
        files.read(name, [(0, memoryview(bytearray(4)))])
    assert len(files._handles) == 2
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before + 2
        files.close()
        assert len(os.listdir("/proc/self/fd")) == before
