"""What a data set is to the catalog. A new one is a subclass in a file of its own; see ``folder.py``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from stages.catalog.spec import DataSpec
from stages.stage import Row


class DataSet(ABC):
    """One kind of corpus below one root.

    Subclasses import neither decoders nor torch at module level: plans list data sets.
    """

    folders: ClassVar[bool] = False
    """Whether items are folders of images rather than video files; see `holds_frames`."""
    uses: ClassVar[tuple[str, ...]] = ()
    """Fields of `DataSpec`, besides kind, name and segment_frames, that change what the catalog says."""

    def __init__(self, spec: DataSpec, root: str) -> None:
        self.spec = spec
        self.root = root

    @abstractmethod
    def items(self) -> list[Row]:
        """The items as ``{"uri", "bytes", "mtime"}`` rows, in any order. Walks and stats, opens no file.

        What can't be looked at is listed with ``bytes=-1`` and ``mtime=0``: it ends as a reject.

        Raises:
            CatalogError: the root is missing, can't be read, or holds nothing of this kind.
        """

    def prepare_root(self) -> None:  # noqa: B027 - most data sets have nothing to prepare
        """Make sure that the root is there; called once before a run. Only generated data sets need it."""

    def prepare(self, uri: str) -> None:  # noqa: B027 - most data sets have nothing to prepare
        """Make sure that the item is there; called before it is read. Only generated data sets need it."""

    def holds_frames(self, uri: str) -> bool:
        """Whether the item is a folder of images; a data set of both kinds says so item by item."""
        return self.folders

    def certain(self, uri: str) -> bool:
        """Whether the item claims to be a video; else it is skipped, not rejected, when it is none."""
        return True

    def truth(self, uri: str) -> str | None:
        """Where the item's ground truth lies, as ``rule:uri`` (see `stages.catalog.table.split_truth`)."""
        return None
