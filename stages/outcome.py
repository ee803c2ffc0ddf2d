"""What can become of one video in one stage: a result, a skip with a reason, or a reject.

There is no fourth outcome: a video never disappears, and a bad one is never replaced by zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

ErrorClass = Literal[
    "empty_file",
    "not_media",
    "no_video_stream",
    "encrypted",
    "no_frames",
    "truncated",
    "decode_error",
    "timeout",
    "crash",
    "memory",
    "unreadable",
    "annotation",
    "tubes",
]
"""Stable names of the reasons for which a video is rejected; documented in ``docs/rejects.md``."""

ERROR_CLASSES: tuple[str, ...] = get_args(ErrorClass)


class MediaError(Exception):
    """A video that can't be turned into a result, through its own fault and not the program's.

    Args:
        error_class: one of `ERROR_CLASSES`.
        message: one deterministic sentence (no temporary paths, process ids or times): it is stored.
        attempts: how many decoder children were spent on the video.
    """

    def __init__(self, error_class: ErrorClass, message: str, attempts: int = 1) -> None:
        if error_class not in ERROR_CLASSES:
            raise ValueError(f"unknown error class {error_class!r}, expected one of {ERROR_CLASSES}")
        super().__init__(message)
        self.error_class: ErrorClass = error_class
        self.message = message
        self.attempts = attempts

    def __reduce__(self) -> tuple[type[MediaError], tuple[ErrorClass, str, int]]:
        return MediaError, (self.error_class, self.message, self.attempts)


@dataclass(frozen=True)
class Done:
    """The video has a result. ``info`` is small, JSON-able, deterministic and kept in the manifest."""

    video: str
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Skipped:
    """The video was looked at and deliberately has no result here, for the stated reason."""

    video: str
    reason: str
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejected:
    """The video failed. It is listed in ``rejects/`` and retried only on request or when its file changes."""

    video: str
    error_class: ErrorClass
    message: str
    attempts: int = 1

    @classmethod
    def of(cls, video: str, error: MediaError) -> Rejected:
        """The reject that records ``error`` for ``video``."""
        return cls(video, error.error_class, error.message, error.attempts)


Outcome = Done | Skipped | Rejected
