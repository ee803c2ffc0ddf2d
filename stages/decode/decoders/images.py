"""Images as videos: folders of them, or one alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from stages.decode.classify import media_error, unreadable
from stages.decode.decoders.base import Picture
from stages.decode.demux import Tick
from stages.decode.frames import Probe
from stages.decode.image_files import list_images
from stages.decode.names import shown_name
from stages.decode.timeline import Timeline
from stages.outcome import MediaError

IMAGE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)
"""What Pillow raises for broken images; an `OSError` with an ``errno`` is the system's."""


class StillsDecoder(ABC):
    """Frames that are images of their own, each read by Pillow when it is wanted; see `Decoder`.

    EXIF orientation is honoured, alpha is dropped, 16-bit values keep their upper byte, animations give
    their first picture. Images of differing sizes are frames like any other: all get the output size that
    the first one leads to. One broken image rejects the whole source.
    """

    used: str

    def __init__(self, path: str, clock: float | None, tick: Tick) -> None:
        self._path, self._clock, self._tick = path, clock, tick

    @abstractmethod
    def _count(self) -> int:
        """Number of frames, at least one."""

    @abstractmethod
    def _read(self, index: int) -> Picture:
        """The upright frame ``index``."""

    def timeline(self) -> Timeline:
        """See `Decoder.timeline`; with a clock frame i is shown at i / clock seconds."""
        tick = None if self._clock is None else 1 / Fraction(self._clock).limit_denominator(100_000)
        return Timeline(np.arange(self._count(), dtype=np.int64), tick)

    def probe(self) -> Probe:
        """What the source holds; sizes are those of the first image, turned as its EXIF data says."""
        height, width, _ = self.first().shape
        frames = self._count()
        span = (frames - 1) / self._clock if self._clock else float(frames - 1)
        return Probe(frames, self._clock, height, width, 0, "images", self.used, 0.0, span)

    def first(self) -> Picture:
        """See `Decoder.first`."""
        return self._read(0)

    def pictures(self, wanted: Sequence[int], size: tuple[int, int] | None = None) -> Iterator[Picture]:
        """See `Decoder.pictures`; ``size`` is left to the resizer."""
        for index in wanted:
            self._tick()
            yield self._read(index)

    def close(self) -> None:  # noqa: B027 - images are closed as soon as they are read
        """See `Decoder.close`."""


class ImagesDecoder(StillsDecoder):
    """The images of a folder, in natural order of their names."""

    used = "images"

    def __init__(self, path: str, clock: float | None, tick: Tick) -> None:
        super().__init__(path, clock, tick)
        self._names: list[str] | None = None

    def _images(self) -> list[str]:
        if self._names is None:
            try:
                self._names = list_images(self._path)
            except OSError as error:
                raise unreadable(self._path, error) from error
            if not self._names:
                raise media_error(self._path, "not_media", "is a folder without images")
        return self._names

    def _count(self) -> int:
        return len(self._images())

    def _read(self, index: int) -> Picture:
        name = self._images()[index]
        what = f"the image {shown_name(name)} is broken: replace it or take it out"
        return _picture(str(Path(self._path, name)), media_error(self._path, "decode_error", what))


class ImageDecoder(StillsDecoder):
    """One image file: a video of one frame."""

    used = "images"

    def _count(self) -> int:
        return 1

    def _read(self, index: int) -> Picture:
        what = "is a broken image: replace it or take it out"
        return _picture(self._path, media_error(self._path, "decode_error", what))


def _picture(path: str, broken: MediaError) -> Picture:
    """The image file ``path``; raises ``broken`` where its content is no image."""
    try:
        return read_image(path)
    except IMAGE_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(path, error) from error
        raise broken from error


def read_image(source: str | BinaryIO) -> Picture:
    """One image, upright and as RGB: uint8 (h, w, 3).

    Raises:
        OSError, or another of `IMAGE_ERRORS`: it can't be read.
    """
    with Image.open(source) as image:
        return _rgb(ImageOps.exif_transpose(image))


def _rgb(image: Image.Image) -> Picture:
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        grey = (wide >> 8 if wide.max() > 255 or image.mode != "I" else wide).clip(0, 255)
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        grey = np.nan_to_num(np.asarray(image)).clip(0, 255)
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))
