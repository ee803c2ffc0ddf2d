"""What every backbone looks like to the rest of the system, and how one is built from its spec."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, runtime_checkable

import numpy as np

from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec
from stages.features.backbones.table import known_model


class FeatureOverflowError(SettingsError):
    """A feature is NaN or larger than fp16 can hold: the settings' fault, so it stops the run.

    Attributes:
        facet: the facet concerned.
        position: index of the first frame concerned within the batch.
    """

    def __init__(self, facet: str, position: int, detail: str) -> None:
        super().__init__(f"{facet}: {detail}")
        self.facet, self.position, self.detail = facet, position, detail


class Backbone(Protocol):
    """A frozen model: frames in, features out. The same frames in the same batches give the same bytes."""

    @property
    def weights_digest(self) -> str:
        """SHA-256 (hex) of the weights file that was loaded; ``""`` where there is none."""

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens for frames of ``height`` x ``width`` pixels.

        Raises:
            SettingsError: the model can't take frames of that size.
        """

    def extract(self, rgb: np.ndarray, previous: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Features of consecutive frames.

        Args:
            rgb: (B, H, W, 3) uint8.
            previous: (H, W, 3) uint8, the frame before the first of ``rgb``; None at the start of a video.

        Returns:
            facet -> fp16 array, (B, N, D) with N = rows * columns in row-major order, or (B, D) for those of
            `table.VECTORS`.

        Raises:
            FeatureOverflowError: a value does not fit into fp16.
        """


@runtime_checkable
class MaskingBackbone(Backbone, Protocol):
    """A backbone that may be able to leave out patches before its first block."""

    @property
    def masks(self) -> bool:
        """Whether it is."""

    def extract_kept(self, rgb: np.ndarray, kept: np.ndarray) -> dict[str, np.ndarray]:
        """Facets per patch of consecutive frames, of which some patches are seen only.

        Args:
            rgb: (B, H, W, 3) uint8.
            kept: (B, n), row-major positions of those patches, ascending.

        Returns:
            facet -> fp16 array (B, n, D).

        Raises:
            FeatureOverflowError: a value does not fit into fp16.
            SettingsError: it can't leave out patches.
        """


@runtime_checkable
class ClipBackbone(Backbone, Protocol):
    """A backbone that may encode consecutive frames together."""

    @property
    def together(self) -> int:
        """How many. `extract` is given whole runs of as many frames, the first one from the video's first
        frame on; only the last run of a video may be shorter, and is filled up with its last frame.
        """


def frames_of(backbone: Backbone) -> int:
    """How many consecutive frames ``backbone`` encodes together; 1 where it does not say."""
    return backbone.together if isinstance(backbone, ClipBackbone) else 1


def build(spec: BackboneSpec, device: str = "cpu", threads: int = 1) -> Backbone:
    """The backbone that ``spec`` describes, with its weights loaded.

    A name ``package.module:Class`` is a backbone of one's own: the class is called with
    ``(spec, device, threads)`` and must do what `Backbone` says.

    Raises:
        SettingsError: unknown model, facet or device; weights that are missing or do not fit.
    """
    spec = spec.resolved()
    if (place := spec.implementation or spec.name) and ":" in place:
        return _imported(spec, place, device, threads)
    known = known_model(spec.name)
    if known is not None and known.family == "patchstats":
        from stages.features.backbones.patchstats import PatchStats

        return PatchStats(spec)
    from stages.features.backbones.torch_backbone import TorchBackbone

    return TorchBackbone(spec, device, threads)


def _imported(spec: BackboneSpec, place: str, device: str, threads: int) -> Backbone:
    module, _, name = place.partition(":")
    try:
        factory = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"backbone.name={spec.name}: {error}; it must be package.module:Class, importable on every worker"
        ) from error
    return factory(spec, device, threads)
