"""The items of a data set, cheaply: what ``--plan`` compares with what is already in the catalog."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from stages.catalog.dataset import DataSet
from stages.catalog.errors import CatalogError
from stages.catalog.spec import DataSpec
from stages.catalog.table import split_truth
from stages.stage import Row, canonical

_CLASSES = {
    "folder": "stages.catalog.folder:FolderSet",
    "frames": "stages.catalog.frames:FramesSet",
    "davis": "stages.catalog.davis:DavisSet",
    "ytvis": "stages.catalog.ytvis:YtvisSet",
    "movi_e": "stages.catalog.movi_e:MoviESet",
    "imagenet_vid": "stages.catalog.imagenet_vid:ImagenetVidSet",
    "image_folder": "stages.catalog.image_folder:ImageFolderSet",
    "ssv2": "stages.catalog.ssv2:Ssv2Set",
    "sprites": "stages.catalog.sprites:SpritesSet",
}


def dataset_class(kind: str) -> type[DataSet]:
    """The class behind ``data.kind``, which may itself be a ``package.module:Class``.

    Raises:
        ValueError: the path leads to no subclass of `DataSet`.
    """
    module, _, name = _CLASSES.get(kind, kind).partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"data.kind={kind}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, DataSet)):
        raise ValueError(f"data.kind={kind}: {name} is not a subclass of stages.catalog.dataset.DataSet")
    return found


def list_items(spec: DataSpec, root: str) -> list[Row]:
    """All items of the data set below ``root`` as ``{"uri", "bytes", "mtime" (ns)}``, sorted by uri.

    Costs a directory walk and one stat per file: about a second per 100,000 files.

    Raises:
        CatalogError: the root is missing, can't be read, or holds nothing of this kind.
    """
    return sorted(dataset_class(spec.kind)(spec, root).items(), key=lambda row: row["uri"])


def truth_rule(spec: DataSpec, root: str, items: Sequence[Row]) -> str:
    """The rule of ground truth (see `stages.catalog.truth`) of the first of ``items`` that has any: asked
    before anything is trained, so that something can be scored.

    Raises:
        CatalogError: not one of ``items`` has ground truth.
    """
    dataset = dataset_class(spec.kind)(spec, root)
    found = next((truth for item in items if (truth := dataset.truth(item["uri"]))), None)
    if found is None:
        raise CatalogError(
            f"data.root={root}: none of the {len(items)} items listed has ground truth, so nothing can be "
            "scored: add the annotations (docs/datasets.md says where they belong), check data.scored and "
            "data.annotations, or use the recipe features"
        )
    return split_truth(found)[0]


def identity(spec: DataSpec) -> dict[str, Any]:
    """What of ``spec`` decides the catalog: settings of other kinds, and how many items there are, do not."""
    fields = ("kind", "name", "segment_frames", *dataset_class(spec.kind).uses)
    found: dict[str, Any] = {name: canonical(getattr(spec, name)) for name in fields}
    if "sprites" in found:
        del found["sprites"]["count"]
    return found
