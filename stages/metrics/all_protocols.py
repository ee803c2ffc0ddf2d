"""Every protocol by its name, on label maps, boxes, tubes and words. Plans import this module."""

from __future__ import annotations

from collections.abc import Mapping

from stages.metrics.box_protocols import BOX_PROTOCOLS, BoxProtocol
from stages.metrics.protocols import PROTOCOLS, Protocol

ALL_PROTOCOLS: Mapping[str, Protocol | BoxProtocol] = {**PROTOCOLS, **BOX_PROTOCOLS}
"""In the order of docs/metrics.md. Names never coincide."""


def help_of(name: str) -> str:
    """What a protocol counts, in one line; nothing for a name that is none (of an older version's tables)."""
    return ALL_PROTOCOLS[name].help if name in ALL_PROTOCOLS else ""


def needs_masks(name: str) -> bool:
    """Whether ground truth that is boxes is not enough."""
    protocol = ALL_PROTOCOLS[name]
    return isinstance(protocol, Protocol) or protocol.takes == "tubes"


def needs_words(name: str) -> bool:
    """Whether it compares names with the words of objects, which sprites alone have."""
    protocol = ALL_PROTOCOLS[name]
    return isinstance(protocol, BoxProtocol) and protocol.takes == "words"
