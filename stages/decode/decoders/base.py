"""The interface of decoders, and how one is found by its name."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.decode.timeline import Timeline
from stages.errors import SettingsError

Picture = NDArray[np.uint8]
"""uint8 (h, w, 3): one upright RGB frame."""

SourceKind = Literal["file", "folder", "record", "image"]
"""A video file, a folder of images, an example in a TFRecord file, or one image."""


class DecoderUnavailableError(SettingsError):
    """The configuration asks for a decoder that can't be had here: not the video's fault."""


class Decoder(Protocol):
    """One opened source. A class registered as ``package.module:Class`` has these methods too.

    It is made as ``Class(path, clock, tick)``: the source, the frames per second of an image folder or a
    record (or None), and a function to call now and then while work goes on. Every method may raise
    `MediaError`.
    """

    @property
    def used(self) -> str:
        """Name of the decoder whose pictures were given, complete once `pictures` is exhausted."""

    def timeline(self) -> Timeline:
        """The times of all frames."""

    def first(self) -> Picture:
        """The first frame, from which the output size and the borders of all follow."""

    def pictures(self, wanted: Sequence[int], size: tuple[int, int] | None = None) -> Iterator[Picture]:
        """The frames with the ascending indices ``wanted``, exactly those and in that order.

        ``size`` is the upright (height, width) to which the decoder may scale them itself.
        """

    def close(self) -> None:
        """Free what was opened."""


def decoder_class(name: str, kind: SourceKind) -> Callable[..., Any]:
    """The class that ``decode.decoder = name`` means for a source of that kind.

    Raises:
        DecoderUnavailableError: if it is not installed or can't be imported.
    """
    if ":" in name:
        return _registered(name)
    if kind == "record":
        from stages.decode.decoders.tfrecord_ import TFRecordDecoder

        return TFRecordDecoder
    if kind == "image":
        from stages.decode.decoders.images import ImageDecoder

        return ImageDecoder
    if kind == "folder":
        from stages.decode.decoders.images import ImagesDecoder

        return ImagesDecoder
    if name == "images":
        raise DecoderUnavailableError(
            "decode.decoder=images reads folders of images only; use auto for files"
        )
    from stages.decode.decoders.decord_ import AutoDecoder, DecordDecoder
    from stages.decode.decoders.pyav_ import PyAVDecoder

    if name == "decord" and importlib.util.find_spec("decord") is None:
        raise DecoderUnavailableError("decord is not installed here; use decode.decoder=auto or pyav")
    return {"auto": AutoDecoder, "decord": DecordDecoder, "pyav": PyAVDecoder}[name]


def _registered(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise DecoderUnavailableError(f"decode.decoder={name} can't be imported: {error}") from error
