"""Which files of a folder are frames, and in which order. Light: plans list folders without a decoder."""

from __future__ import annotations

import os
import re
from pathlib import Path

EXTENSIONS = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
"""Endings (in any case) of the files that are taken for frames."""


def list_images(folder: str) -> list[str]:
    """Names of the images directly in ``folder``, in natural order: ``2.jpg`` before ``10.jpg``.

    Hidden files and everything without one of `EXTENSIONS` are left out.

    Raises:
        OSError: if the folder can't be read.
    """
    names = [
        entry.name
        for entry in Path(folder).iterdir()
        if not entry.name.startswith(".") and is_image(entry.name)
    ]
    return sorted(names, key=_natural)


def is_image(path: str) -> bool:
    """Whether the name ends like an image's."""
    return Path(path).suffix.lower() in EXTENSIONS


def _natural(name: str) -> tuple[list[tuple[int, bytes]], bytes]:
    raw = os.fsencode(name)
    parts = re.split(rb"(\d+)", raw)
    return [(int(p), b"") if i % 2 else (0, p) for i, p in enumerate(parts)], raw
