"""The clip stage: a small CLIP trained on rendered sprites; needs no data. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from stages.artifacts.place import Place
from stages.labeling.sprites_clip_spec import SpritesClipSpec
from stages.stage import FitStage, WorkContext


@dataclass(frozen=True)
class ClipStage(FitStage):
    """Writes a folder for ``label.model`` (open_clip's layout) and ``accuracy.json`` (held-out sprites).

    It takes about two minutes of CPU time, so what a killed run has done is not kept: the next one starts
    anew, and gives the same bytes.
    """

    kind: ClassVar[str] = "clip"
    version: ClassVar[int] = 2
    reads_data: ClassVar[bool] = False

    spec: SpritesClipSpec = field(default_factory=SpritesClipSpec)

    @property
    def name(self) -> str:
        """Always ``sprites``."""
        return "sprites"

    def make(self, inputs: Sequence[Place], folder: Path, context: WorkContext) -> None:
        """See `WholeStage.make`. Of several processes the first does the work."""
        import torch

        from stages.labeling.accuracy import write_accuracy
        from stages.labeling.sprites_clip import save_sprites_clip, train_sprites_clip

        together = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
        if together and torch.distributed.get_rank() > 0:
            return
        torch.set_num_threads(context.threads)
        # Processes that train together have to report together, and the others are done.
        model, accuracy = train_sprites_clip(self.spec, None if together else context.report)
        save_sprites_clip(model, folder)
        write_accuracy(folder, accuracy)
