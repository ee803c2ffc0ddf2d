"""Writing TFRecord files as MOVi-E has them; framing and protobuf are written out here on their own."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import crc32c
import numpy as np
from PIL import Image

Value = Sequence[bytes] | Sequence[int] | np.ndarray


def record(data: bytes) -> bytes:
    """One framed record."""
    head = struct.pack("<Q", len(data))
    return head + _masked(head) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    crc = crc32c.crc32c(data)
    rotated = (crc >> 15) | (crc << 17 & 0xFFFFFFFF)
    return struct.pack("<I", (rotated + 0xA282EAD8) % (1 << 32))


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, data: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def example(features: Mapping[str, Value]) -> bytes:
    """A serialised tf.train.Example: lists of bytes, of ints, or a float array."""
    entries = b""
    for key, values in features.items():
        if isinstance(values, np.ndarray):
            feature = field(2, field(1, values.astype("<f4").tobytes()))
        elif values and isinstance(values[0], int):
            feature = field(3, field(1, b"".join(varint(int(v)) for v in values)))
        else:
            feature = field(1, b"".join(field(1, v) for v in values))
        entries += field(1, field(1, key.encode()) + field(2, feature))
    return field(1, entries)


def encoded(array: np.ndarray, format: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, format)
    return out.getvalue()


def clip(seed: int, frames: int = 24, size: tuple[int, int] = (32, 48)) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (T, H, W, 3) frames and uint8 (T, H, W) ids of two objects that move."""
    rng = np.random.default_rng(seed)
    rgb = np.full((frames, *size, 3), rng.integers(0, 255, 3, np.uint8), np.uint8)
    ids = np.zeros((frames, *size), np.uint8)
    for number in (1, 2):
        colour, top, left = rng.integers(0, 255, 3, np.uint8), *rng.integers(0, size[0] // 2, 2)
        for t in range(frames):
            there = np.s_[t, top : top + 8, left + t // 2 : left + t // 2 + 8]
            rgb[there], ids[there] = colour, number
    return rgb, ids


def movi_example(rgb: np.ndarray, ids: np.ndarray, format: str = "PNG", name: str = "0") -> bytes:
    return example(
        {
            "metadata/video_name": [name.encode()],
            "metadata/num_frames": [len(rgb)],
            "camera/positions": np.zeros(3 * len(rgb)),
            "video": [encoded(frame, format) for frame in rgb],
            "segmentations": [encoded(mask) for mask in ids],
        }
    )


def shard_path(root: Path, split: str, number: int, count: int, folder: str = "movi_e/128x128/1.0.0") -> Path:
    return root / folder / f"movi_e-{split}.tfrecord-{number:05d}-of-{count:05d}"


def write_shard(path: Path, examples: Sequence[bytes]) -> list[int]:
    """Write ``examples`` (serialised); returns the offsets of their records."""
    path.parent.mkdir(parents=True, exist_ok=True)
    at, offsets, out = 0, [], b""
    for data in examples:
        offsets.append(at)
        framed = record(data)
        out += framed
        at += len(framed)
    path.write_bytes(out)
    return offsets


def make_movi(root: Path, shards: int = 2, each: int = 2, split: str = "validation", **options) -> None:
    """A small MOVi-E below ``root``; example i of shard s is ``clip(s * each + i)``."""
    for s in range(shards):
        data = [movi_example(*clip(s * each + i), name=str(s * each + i), **options) for i in range(each)]
        write_shard(shard_path(root, split, s, shards), data)
