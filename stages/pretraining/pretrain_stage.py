"""The stage ``videomae``: masked pre-training of the video transformer on decoded video. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from stages.artifacts.place import Place
from stages.decode.spec import DecodeSpec
from stages.errors import SettingsError
from stages.learning.spec import TrainSpec
from stages.pretraining.spec import PretrainSpec
from stages.stage import FitStage, WorkContext

KIND = "videomae"
DESCRIPTION = f"{KIND}.json"


@dataclass(frozen=True)
class PretrainStage(FitStage):
    """A catalog in, a video transformer out; video is streamed, and no features are stored.

    Writes ``videomae.safetensors``, which ``backbone.weights`` takes, ``videomae.json``, ``history.parquet``,
    ``rejects.parquet`` (``video, error_class, message, clips``: clips that could not be decoded and were
    drawn from other videos instead) and the TensorBoard logs.

    Attributes:
        pretrain: model and clips.
        train: how long.
        decode: by what decoder and resizer; rate and stride are ``pretrain``'s.

    Raises:
        SettingsError: something to hold out or exclude, which this training does not know.
    """

    kind: ClassVar[str] = KIND

    pretrain: PretrainSpec = field(default_factory=PretrainSpec)
    train: TrainSpec = field(default_factory=TrainSpec)
    decode: DecodeSpec = field(default_factory=DecodeSpec)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decode", replace(self.decode, fps="all", stride=self.pretrain.stride))
        for name in ("hold_out", "validate_every", "exclude_annotated"):
            if getattr(self.train, name):
                raise SettingsError(
                    f"train.{name}: pre-training uses all videos of the catalog; leave it out"
                )

    @property
    def name(self) -> str:
        """The model's name."""
        return self.pretrain.known.name

    def make(self, inputs: Sequence[Place], folder: Path, context: WorkContext) -> None:
        """See `WholeStage.make`. Several processes may call it together, joined by `torch.distributed`."""
        from stages.pretraining.pretraining import pretrain

        pretrain(self, folder, context)

    def told(self, folder: Path) -> str:
        """See `WholeStage.told`: how many videos there were, and what could not be decoded."""
        content = json.loads((folder / DESCRIPTION).read_text())
        text = f"trained on clips of {content['videos']} videos"
        counts = content["clips_passed_over"]
        if counts:
            reasons = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
            text += f"; some of {content['videos_rejected']} could not be decoded ({reasons})"
            text += ", see rejects.parquet"
        return text
