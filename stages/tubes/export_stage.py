"""The export stage: a run's tubes as files that other tools read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stages.artifacts.place import Place
from stages.errors import SettingsError
from stages.labeling.named_stage import names_of
from stages.stage import ReduceStage, WorkContext

FORMATS = ("ytvis", "coco", "png")


@dataclass(frozen=True)
class ExportStage(ReduceStage):
    """Writes ``results.json`` and ``instances.json`` (YouTube-VIS or COCO), or one indexed PNG per frame
    (DAVIS); of named tubes where a stage has named them.

    Attributes:
        form: one of `FORMATS`.
        masks: kind of masks; empty: the named ones, else the method's own.
        unnamed: tubes that no name fits are exported too; PNGs show them anyway.
    """

    kind: ClassVar[str] = "export"

    form: str
    masks: str = ""
    unnamed: bool = True

    def __post_init__(self) -> None:
        if self.form not in FORMATS:
            raise SettingsError(
                f"tubes.export={self.form}: must be none, {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
            )

    @property
    def name(self) -> str:
        """The format."""
        return self.form

    def make(self, inputs: Sequence[Place], folder: Path, context: WorkContext) -> None:
        """See `WholeStage.make`.

        Raises:
            SettingsError: the tubes have no such masks, or a video more tubes than a PNG can show.
        """
        from stages.tubes.export import export_pngs, export_youtube_vis
        from stages.tubes.export_coco import export_coco
        from stages.tubes.reader import TubeStore

        named = context.inputs.get("named")
        store = TubeStore(named or context.inputs["tubes"])
        kinds = {video: store.kinds(video) for video in store.videos()}
        masks = self.masks or next((names[0] for names in kinds.values()), "")
        lacking = [video for video, names in kinds.items() if masks not in names]
        if lacking:
            raise SettingsError(
                f"tubes.export_masks={masks}: video {lacking[0]} has masks of the kinds "
                f"{', '.join(kinds[lacking[0]])}"
            )
        if self.form == "png":
            export_pngs(store, masks, folder)
        else:
            export = export_youtube_vis if self.form == "ytvis" else export_coco
            export(store, masks, folder, unnamed=self.unnamed, names=names_of(named) if named else ())
