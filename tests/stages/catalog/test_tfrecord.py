"""TFRecord framing and the Example in it, against writers of their own and Google's protobuf."""

import numpy as np
import pytest

from stages.catalog.tfrecord import masked_crc, offsets, parse_example, read_record, record_bytes
from stages.outcome import MediaError
from tests import tfrecords

NAME = "movi_e-test.tfrecord-00000-of-00001"


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / NAME
    return path, tfrecords.write_shard(path, [b"one", b"", b"x" * 1000])


def reading(path, at):
    with pytest.raises(MediaError) as caught:
        read_record(f"{path}#{at}")
    return caught.value.error_class, caught.value.message


def test_checksums():
    """RFC 3720 gives the CRC-32C of 32 zero bytes; the mask is a rotation and a sum."""
    crc = 0x8A9136AA
    assert masked_crc(bytes(32)) == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32


def test_records(shard):
    path, starts = shard
    assert list(offsets(str(path))) == list(zip(starts, [3, 0, 1000], strict=True))
    assert [read_record(f"{path}#{at}") for at in starts] == [b"one", b"", b"x" * 1000]
    assert record_bytes(f"{path}#{starts[2]}") == 1000


@pytest.mark.parametrize("end", [1, 4, 500, 1004, 1010])
def test_a_file_that_ends_early(shard, end):
    path, starts = shard
    path.write_bytes(path.read_bytes()[:-end])
    assert list(offsets(str(path)))[:2] == [(starts[0], 3), (starts[1], 0)]
    assert list(offsets(str(path)))[2:] == [(starts[2], -1)]
    error_class, message = reading(path, starts[2])
    assert error_class == "truncated"
    assert message == f"{NAME}#{starts[2]}: the file ends within this record: copy or download the file again"


def test_damage(shard):
    path, starts = shard
    data = bytearray(path.read_bytes())
    data[starts[2] + 20] ^= 1
    path.write_bytes(data)
    assert len(list(offsets(str(path)))) == 3
    assert reading(path, starts[2])[0] == "unreadable" and "checksum" in reading(path, starts[2])[1]
    data[starts[1]] ^= 1
    path.write_bytes(data)
    assert list(offsets(str(path))) == [(starts[0], 3), (starts[1], -1)]
    assert "length doesn't fit its checksum" in reading(path, starts[1])[1]
    assert reading(path, len(data) + 5)[0] == "truncated"
    path.unlink()
    assert reading(path, 0) == ("unreadable", f"{NAME}: it has vanished since it was listed")


def test_an_empty_file(tmp_path):
    (tmp_path / NAME).touch()
    assert list(offsets(str(tmp_path / NAME))) == [(0, -1)]


def test_other_paths_name_no_record(tmp_path):
    with pytest.raises(ValueError, match="names no record"):
        read_record(str(tmp_path / "a.mp4"))


def test_examples():
    data = tfrecords.example(
        {"video": [b"a", b"b" * 300], "n": [1, 2**40], "f": np.ones(3), "none": [], "name é": [b"c"]}
    )
    found = parse_example(data, NAME)
    assert found == {"video": [b"a", b"b" * 300], "n": [], "f": [], "none": [], "name é": [b"c"]}
    assert parse_example(b"", NAME) == {}


def google_example():
    """``tf.train.Example`` as Google's protobuf builds it from a description."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")

    def message(name, *fields, into=None):
        made = (into.nested_type if into else file.message_type).add(name=name)
        for number, (field, kind, label) in enumerate(fields, start=1):
            entry = made.field.add(name=field, number=number, label=3 if label else 1)
            if isinstance(kind, str):
                entry.type, entry.type_name = 11, kind
            else:
                entry.type = kind
        return made

    message("BytesList", ("value", 12, True))
    message("FloatList", ("value", 2, True))
    message("Int64List", ("value", 3, True))
    message(
        "Feature",
        ("bytes_list", ".t.BytesList", 0),
        ("float_list", ".t.FloatList", 0),
        ("int64_list", ".t.Int64List", 0),
    )
    features = message("Features", ("feature", ".t.Features.FeatureEntry", True))
    entry = message("FeatureEntry", ("key", 9, False), ("value", ".t.Feature", False), into=features)
    entry.options.map_entry = True
    message("Example", ("features", ".t.Features", False))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))()


def test_examples_that_google_wrote():
    pytest.importorskip("google.protobuf")
    example = google_example()
    example.features.feature["video"].bytes_list.value.extend([b"one", b"two" * 200])
    example.features.feature["metadata/num_frames"].int64_list.value.append(24)
    example.features.feature["camera/positions"].float_list.value.extend([0.5] * 72)
    found = parse_example(example.SerializeToString(), NAME)
    assert found == {"video": [b"one", b"two" * 200], "metadata/num_frames": [], "camera/positions": []}


@pytest.mark.parametrize(
    "data", [b"\x0a\xff", b"\x0a\x05abc", b"\x0b", b"\xff" * 11, b"\x0a\x02\x0a\x01\xff", b"\x09ab"]
)
def test_what_is_no_example(data):
    with pytest.raises(MediaError, match=f"{NAME}: the record is no tf.train.Example") as caught:
        parse_example(data, NAME)
    assert caught.value.error_class == "unreadable"


def test_any_bytes_end_in_a_result_or_a_sentence():
    rng = np.random.default_rng(0)
    good = bytearray(tfrecords.example({"video": [b"abc"] * 5, "n": [3]}))
    for _ in range(300):
        data = bytearray(good)
        data[rng.integers(len(data))] = rng.integers(256)
        try:
            parse_example(bytes(data), NAME)
        except MediaError as error:
            assert error.error_class == "unreadable"
