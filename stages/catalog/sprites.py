"""``data.kind=sprites``: generated clips with exact ground truth, written below the root when needed."""

from __future__ import annotations

from pathlib import Path

from stages.catalog.dataset import DataSet
from stages.sprites.files import clip_files, clip_index, write_clip
from stages.stage import Row


class SpritesSet(DataSet):
    """The clips of ``data.sprites``, listed by their index whether or not their files are there."""

    uses = ("sprites",)

    def items(self) -> list[Row]:
        """See `DataSet.items`. Size and time are 0: what a clip holds follows from its name."""
        spec = self.spec.sprites
        return [{"uri": clip_files(spec, i).video, "bytes": 0, "mtime": 0} for i in range(spec.count)]

    def prepare_root(self) -> None:
        """Make the folder that the clips will be written to."""
        Path(self.root).mkdir(parents=True, exist_ok=True)

    def prepare(self, uri: str) -> None:
        """Write the clip's files, unless they are there."""
        spec = self.spec.sprites
        write_clip(self.root, spec, clip_index(spec, uri))

    def truth(self, uri: str) -> str | None:
        """``sprites:`` and the uri of the folder of masks."""
        spec = self.spec.sprites
        return f"sprites:{clip_files(spec, clip_index(spec, uri)).masks}"
