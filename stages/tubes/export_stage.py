"""The export stage: a run's tubes as files that other tools read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stages.errors import SettingsError
from stages.stage import ReduceStage, WorkContext

FORMATS = ("ytvis", "png")


@dataclass(frozen=True)
class ExportStage(ReduceStage):
    """Writes ``results.json`` and ``instances.json`` (YouTube-VIS), or one indexed PNG per frame (DAVIS).

    Attributes:
        form: ``ytvis`` or ``png``.
        masks: kind of masks; empty: the method's own.
    """

    kind: ClassVar[str] = "export"

    form: str
    masks: str = ""

    def __post_init__(self) -> None:
        if self.form not in FORMATS:
            raise SettingsError(f"tubes.export={self.form}: must be none, {' or '.join(FORMATS)}")

    @property
    def name(self) -> str:
        """The format."""
        return self.form

    def make(self, inputs: Sequence[Path], folder: Path, context: WorkContext) -> None:
        """See `WholeStage.make`.

        Raises:
            SettingsError: the tubes have no such masks, or a video more tubes than a PNG can show.
        """
        from stages.tubes.export import export_pngs, export_youtube_vis
        from stages.tubes.reader import TubeStore

        store = TubeStore(context.inputs["tubes"])
        kinds = {video: store.kinds(video) for video in store.videos()}
        masks = self.masks or next((names[0] for names in kinds.values()), "")
        lacking = [video for video, names in kinds.items() if masks not in names]
        if lacking:
            raise SettingsError(
                f"tubes.export_masks={masks}: video {lacking[0]} has masks of the kinds "
                f"{', '.join(kinds[lacking[0]])}"
            )
        export = export_youtube_vis if self.form == "ytvis" else export_pngs
        export(store, masks, folder)
