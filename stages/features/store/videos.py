"""The ids of a store's videos, and what to say about an id that is not among them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from stages.features.store.index import Index

_COMPARED = 2000


class Videos(Sequence[str]):
    """The ids of a store's videos, sorted; read from the index as they are asked for."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self._index.video(j) for j in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(f"the store has {len(self)} videos, there is no number {i}")
        return self._index.video(i % len(self))

    def __contains__(self, video: object) -> bool:
        return isinstance(video, str) and self._index.find(video) is not None

    def __iter__(self) -> Iterator[str]:
        return map(self._index.video, range(len(self)))


def unknown(index: Index, video: str, path: str) -> str:
    """A sentence that names the ids nearest to ``video``, looked for among those that sort around it."""
    place = index.position(video)
    around = range(max(0, place - _COMPARED // 2), min(len(index), place + _COMPARED // 2))
    near = difflib.get_close_matches(video, [index.video(i) for i in around], n=3, cutoff=0.5)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    return f"no video {video!r} among the {len(index)} of {path}{hint}"
