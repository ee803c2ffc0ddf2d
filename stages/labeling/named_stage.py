"""The named stage: tubes get names from a vocabulary, and those that touch and share one become one.

Plans import this module, so it imports neither torch nor open_clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from stages.artifacts.layout import read_stage_json
from stages.labeling.clip_spec import ClipSpec
from stages.labeling.vocabulary import Vocabulary
from stages.stage import MapStage, Row, ShardWorker, ShardWriter, WorkContext


@dataclass(frozen=True)
class NamedStage(MapStage):
    """Tubes and what CLIP saw of them in, tubes with names out (VOL; methods sheet 1.5, steps 5 to 9).

    The first kind of masks, `stages.tubes.table.NAMED`, is the result: tubes after merging, those that no
    name fits being ``unnamed``. The second is the method's published one: every tube as it was, with its own
    name. Other kinds follow as they were, without names.

    Attributes:
        vocabulary: the names.
        clip: whose text encoder; None for the model that the recipe trains (stage ``clip``).
        prompt, threshold, merge, adjacency, frames, keep_one: see `LabelSpec`; ``frames`` is its ``clip``.
    """

    kind: ClassVar[str] = "named"
    suffix: ClassVar[str] = ".parquet"
    reads: ClassVar[tuple[str, ...]] = ("clip",)

    vocabulary: Vocabulary
    clip: ClipSpec | None = None
    prompt: str = "code"
    threshold: float = 0.0
    merge: bool = True
    adjacency: Literal["spatiotemporal", "spatial"] = "spatiotemporal"
    frames: int = 0
    keep_one: bool = False

    @property
    def name(self) -> str:
        """Always ``named``."""
        return "named"

    def identity(self) -> dict[str, Any]:
        """As `Stage.identity`, files by their content."""
        identity = super().identity()
        fields = {**identity["fields"], "clip": None if self.clip is None else self.clip.identity()}
        return {**identity, "fields": fields}

    def prepare(self, context: WorkContext) -> Sequence[str]:
        """The names' text features made, where they are not there: the run's one pass of the text encoder.

        Returns:
            a sentence about prompts whose ends the text encoder does not read.
        """
        if self.clip is None:
            return ()  # it is yet to be trained
        from stages.labeling.named_worker import text_features

        cut = text_features(self, context).truncated
        return (truncation(cut),) if cut else ()

    def open(self, context: WorkContext) -> ShardWorker:
        """The names' text features read, or made by the first worker.

        Raises:
            SettingsError: the model can't be had as described.
        """
        from stages.labeling.named_worker import NamedWorker

        return NamedWorker(self, context)

    def writer(self, path: Path, shard: str) -> ShardWriter:
        """A writer of tubes."""
        from stages.tubes.writer import TubesWriter

        return TubesWriter(path, shard)

    def estimate(self, row: Row) -> tuple[int, int]:
        """``(frames, bytes)``; how many tubes remain is a guess."""
        return int(row["frames"]), 100 * int(row["frames"])

    def size_known(self) -> bool:
        """Never: masks are compressed."""
        return False


def truncation(cut: Sequence[str]) -> str:
    """What a user must know about the prompts ``cut``."""
    shown = ", ".join(map(repr, cut[:3])) + (f" and {len(cut) - 3:,} more" if len(cut) > 3 else "")
    return f"label.vocabulary: CLIP reads only the beginning of {shown}; shorten these names"


def names_of(folder: str | Path) -> tuple[str, ...]:
    """The targets that the tubes of the ``named`` artifact in ``folder`` were given names from, in order."""
    return tuple(read_stage_json(Path(folder))["identity"]["fields"]["vocabulary"]["names"])
