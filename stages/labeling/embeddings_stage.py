"""The embeddings stage: what CLIP sees of every tube. No vocabulary enters, so that any can be tried on it.

Plans import this module, so it imports neither torch nor open_clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from stages.artifacts import whole
from stages.artifacts.layout import FormatError, read_stage_json
from stages.artifacts.place import place
from stages.artifacts.table_writer import ParquetShardWriter
from stages.decode.spec import DecodeSpec
from stages.errors import SettingsError
from stages.labeling.clip_spec import ClipSpec
from stages.labeling.spec import By
from stages.stage import MapStage, Row, ShardWorker, ShardWriter, WorkContext, canonical

EMBEDDINGS_SCHEMA = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("tube", pa.int32(), nullable=False),
        pa.field("frames", pa.int64(), nullable=False),  # in how many frames it was looked at
        pa.field("embedding", pa.list_(pa.float32()), nullable=False),
    ]
)
"""``embedding``, (E,), is a sum: of crops' embeddings of length 1 over frames, or of patch features over the
tube's patches. Sums of tubes that are merged add up, and only the direction counts for names. A tube that was
never looked at has zeros."""

_WIDTH = 512


@dataclass(frozen=True)
class EmbeddingsStage(MapStage):
    """Tubes in, rows of `EMBEDDINGS_SCHEMA` out: those of the method's published kind of masks.

    Attributes:
        clip: the model; None for the one that the recipe trains (stage ``clip``).
        by: what CLIP looks at, see `LabelSpec`.
        branch: artifact folder of an adapted branch; empty for the one that the recipe trains.
        size: short side of the frames whose patches are seen; 0: the model's own.
        margin: of crops.
        step: every so many-th stored frame is looked at.
        imagenet_norm: the released code's mistake, see `LabelSpec`.
        decode: how the features' frames were sampled and cut; the same frames are looked at.
    """

    kind: ClassVar[str] = "embeddings"
    suffix: ClassVar[str] = ".parquet"
    reads: ClassVar[tuple[str, ...]] = ("clip", "branch")

    clip: ClipSpec | None = None
    by: By = "crops"
    branch: str = ""
    size: int = 0
    margin: float = 0.0
    step: int = 1
    imagenet_norm: bool = False
    decode: DecodeSpec = field(default_factory=DecodeSpec)

    @property
    def name(self) -> str:
        """What CLIP looks at."""
        return self.by

    def identity(self) -> dict[str, Any]:
        """As `Stage.identity`, files by their content, and without settings that mean nothing here."""
        fields = {"by": self.by, "step": self.step, "decode": canonical(self.decode)}
        fields["clip"] = None if self.clip is None else self.clip.identity()
        if self.by == "crops":
            fields["margin"] = self.margin
        else:
            fields |= {"size": self.size, "imagenet_norm": self.imagenet_norm}
        if self.by == "patches":
            fields["branch"] = fit_fingerprint(self.branch, "branch") if self.branch else ""
        return {**super().identity(), "fields": fields}

    def weights_identity(self) -> str:
        """See `ClipSpec.weights_identity`."""
        return "" if self.clip is None else self.clip.weights_identity()

    def prepare(self, context: WorkContext) -> Sequence[str]:
        """The weights fetched where they have to be, and the branch checked against them."""
        if self.clip is not None:
            from stages.labeling.embeddings_worker import check_clip

            check_clip(self, self.clip, context)
        return ()

    def open(self, context: WorkContext) -> ShardWorker:
        """CLIP loaded and a decoder child started.

        Raises:
            SettingsError: the model or the branch can't be had as described.
        """
        from stages.labeling.embeddings_worker import EmbeddingsWorker

        return EmbeddingsWorker(self, context)

    def writer(self, path: Path, shard: str) -> ShardWriter:
        """Rows into a Parquet file."""
        return ParquetShardWriter(path, shard, EMBEDDINGS_SCHEMA)

    def estimate(self, row: Row) -> tuple[int, int]:
        """``(frames, bytes)``."""
        return int(row["frames"]), 4 * _WIDTH * sum(row.get("tubes", {}).values())


def fit_fingerprint(folder: str, kind: str) -> str:
    """The fingerprint of the fit artifact in ``folder``.

    Raises:
        SettingsError: there is no finished artifact of that kind.
    """
    path = place(folder).expanduser()
    try:
        spec = read_stage_json(path)
        finished = whole.current(path) is not None
    except FormatError:
        raise
    except (OSError, ValueError, AttributeError) as error:
        raise SettingsError(f"label.{kind}={folder}: no artifact there (no readable stage.json)") from error
    if spec.get("kind") != kind or not finished:
        raise SettingsError(
            f"label.{kind}={folder}: this is no finished artifact of kind {kind}; give the folder that its "
            "training printed"
        )
    return str(spec["fingerprint"])
