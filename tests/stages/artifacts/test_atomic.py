from __future__ import annotations

import errno
import os
import threading

import pytest

from stages.artifacts import atomic
from stages.artifacts.place import StoreError


def test_write_replaces_and_leaves_no_temp(tmp_path):
    path = tmp_path / "deep" / "file"
    atomic.write_bytes(path, b"one")
    atomic.write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_create_has_exactly_one_winner(tmp_path):
    path = tmp_path / "file"
    barrier = threading.Barrier(8)
    won = []

    def attempt(number):
        barrier.wait()
        if atomic.create(path, b"%d" % number * 1000):
            won.append(number)

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert path.read_bytes() == b"%d" % won[0] * 1000
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EFBIG])
def test_refused_writes_name_path_and_bytes(tmp_path, number):
    with pytest.raises(atomic.StoreError, match=r"shard-1 \(1,234 bytes needed\).*--set store") as caught:
        with atomic.store_errors(tmp_path / "shard-1", 1234):
            raise OSError(number, os.strerror(number))
    assert str(tmp_path) in str(caught.value)


def test_other_errors_pass_through(tmp_path):
    with pytest.raises(IsADirectoryError), atomic.store_errors(tmp_path):
        raise IsADirectoryError(errno.EISDIR, "is a directory")
    with pytest.raises(ZeroDivisionError), atomic.store_errors(tmp_path):
        raise ZeroDivisionError


def test_temp_names_are_hidden_and_unique(tmp_path):
    path = tmp_path / "shard.tar"
    names = {atomic.temp_path(path) for _ in range(100)}
    assert len(names) == 100
    assert all(atomic.is_temp(name) and name.parent == tmp_path for name in names)
    assert not atomic.is_temp(path)


def test_a_temporary_file_that_is_gone_is_a_sentence(tmp_path):
    """``--gc`` takes it where a run gave no sign of life for long."""
    with pytest.raises(StoreError, match=r"a\.tar: .* was removed meanwhile; run the same command again"):
        atomic.publish(atomic.temp_path(tmp_path / "a.tar"), tmp_path / "a.tar")
