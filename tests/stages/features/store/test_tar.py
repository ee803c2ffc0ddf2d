import io
import tarfile

import pytest

from stages.features.store import tar


@pytest.mark.parametrize("name", ["a.npy", "v" * 96 + ".npy", "é.f00001.tokens.npy"])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 100_000])
def test_tarfile_reads_what_we_write(name: str, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    archive = tar.header(name, size) + data[:size] + bytes(tar.padding(size)) + tar.END
    assert len(archive) % tar.BLOCK == 0
    with tarfile.open(fileobj=io.BytesIO(archive), format=tarfile.USTAR_FORMAT) as file:
        (member,) = file.getmembers()
        assert (member.name, member.size, member.mode, member.mtime) == (name, size, 0o644, 0)
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
        assert file.extractfile(member).read() == data[:size]


def test_largest_size_survives() -> None:
    assert tarfile.TarInfo.frombuf(tar.header("a", 8**11 - 1), "utf-8", "strict").size == 8**11 - 1


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [("v" * 101, 1, "101 bytes"), ("é" * 51, 1, "102 bytes"), ("", 1, "0 bytes"), ("a", 8**11, "8589934592")],
)
def test_limits_are_refused_by_name(name: str, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tar.header(name, size)
