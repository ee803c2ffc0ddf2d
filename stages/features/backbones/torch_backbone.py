"""A timm model, or the video transformer, behind the backbone protocol: normalisation, autocast, fp16
results.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec
from stages.features.backbones.base import FeatureOverflowError
from stages.features.backbones.cnn import CnnEncoder
from stages.features.backbones.table import (
    KNOWN,
    PATCH_FACETS,
    PIXELS,
    KnownModel,
    frames_together,
    known_model,
)
from stages.features.backbones.video_encoder import VideoEncoder, load_video_model
from stages.features.backbones.video_vit import VideoVit
from stages.features.backbones.vit import VitEncoder
from stages.features.backbones.weights import load_weights

STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "kinetics": ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Channel means and deviations of RGB in [0, 1]."""

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
RECOMPILE_LIMIT = 256

Encoder = Any
"""A module with ``grid(height, width)`` that makes facets by name of normalised images (B, 3, H, W)."""
ChannelStatistics = tuple[tuple[float, ...], tuple[float, ...]]


class TorchBackbone:
    """See `Backbone`; ``encoder`` is the module inside, for methods that run it online.

    Args:
        spec: a resolved spec of a table or timm name.
        device: ``cpu``, ``cuda``, ``cuda:<n>``, or ``auto`` for a GPU where there is one.
        threads: CPU threads of a forward pass, the same for every worker since they change the last bits.

    Raises:
        SettingsError: see `build`.
    """

    def __init__(self, spec: BackboneSpec, device: str = "cpu", threads: int = 1) -> None:
        self.device = _device(device, spec)
        self._spec, self._threads = spec, threads
        with _numerics(threads):
            encoder, self.weights_digest, (mean, std) = self._load(spec)
        self.encoder = encoder.eval().requires_grad_(False).to(self.device)
        self._mean = torch.tensor(mean, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=self.device).view(1, 3, 1, 1)
        self._run: Any = _compiled(self.encoder) if spec.compile else self.encoder

    def _load(self, spec: BackboneSpec) -> tuple[Encoder, str, ChannelStatistics]:
        """What computes the facets, the digest of its weights file, channel mean and deviation."""
        model, digest = load_model(spec)
        return make_encoder(spec, model), digest, statistics(spec, model)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """See `Backbone.grid`."""
        grid: tuple[int, int] = self.encoder.grid(height, width)
        return grid

    @property
    def together(self) -> int:
        """See `ClipBackbone.together`."""
        return self.encoder.frames if isinstance(self.encoder, VideoEncoder) else 1

    @property
    def masks(self) -> bool:
        """See `MaskingBackbone.masks`: a ViT does."""
        return isinstance(self.encoder, VitEncoder)

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of the patch of a ViT or a video transformer in pixels.

        Raises:
            SettingsError: the model is neither.
        """
        if isinstance(self.encoder, VideoEncoder):
            side = self.encoder.model.sizes.patch
            return side, side
        return self._vit().patch

    def extract(self, rgb: np.ndarray, previous: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """See `Backbone.extract`; ``previous`` is not looked at."""
        rows, columns = self.grid(rgb.shape[1], rgb.shape[2])
        with torch.inference_mode(), _numerics(self._threads):
            found = self.encode(torch.from_numpy(np.ascontiguousarray(rgb)))
            facets = {name: _to_host(name, value) for name, value in found.items()}
        self._check(facets, rgb, rows, columns)
        if PIXELS in self._spec.facets:
            facets[PIXELS] = rgb.reshape(len(rgb), -1, 3)
        return facets

    def encode(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The encoder's facets of frames (B, H, W, 3), values 0 to 255; the caller says whether gradients and
        numerics are as usual.
        """
        with self._autocast():
            found: dict[str, torch.Tensor] = self._run(self.normalised(pixels))
        return found

    def extract_kept(self, rgb: np.ndarray, kept: np.ndarray) -> dict[str, np.ndarray]:
        """Facets per patch where only some of each frame's patches enter the transformer's blocks.

        Args:
            rgb: (B, H, W, 3) uint8.
            kept: (B, n), row-major positions of those patches, ascending.

        Returns:
            facet -> fp16 (B, n, D), of those facets of the spec that are per patch.

        Raises:
            FeatureOverflowError: a value does not fit into fp16.
            SettingsError: the model is no ViT.
        """
        with torch.inference_mode(), _numerics(self._threads):
            found = self.encode_kept(torch.from_numpy(np.ascontiguousarray(rgb)), torch.from_numpy(kept))
            return {name: _to_host(name, value) for name, value in found.items() if name in PATCH_FACETS}

    def encode_kept(self, pixels: torch.Tensor, kept: torch.Tensor) -> dict[str, torch.Tensor]:
        """The encoder's facets of frames (B, H, W, 3), values 0 to 255, whose patches ``kept`` it sees.

        See `VitEncoder.forward`; the caller says whether gradients and numerics are as usual.

        Raises:
            SettingsError: the model is no ViT.
        """
        self._vit()
        images = self.normalised(pixels)
        with self._autocast():
            found: dict[str, torch.Tensor] = self._run(images, kept.to(self.device, torch.int64))
        return found

    def _vit(self) -> VitEncoder:
        if not isinstance(self.encoder, VitEncoder):
            raise SettingsError(
                f"backbone {self._spec.name} can't leave out patches: choose a ViT such as dino_vits16"
            )
        return self.encoder

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the encoder takes, float32 (B, 3, H, W) on its device, from values 0 to 255, (B, H, W, 3)."""
        images = pixels.to(self.device).permute(0, 3, 1, 2).float()
        return (images / 255 - self._mean) / self._std

    def _check(self, facets: dict[str, np.ndarray], rgb: np.ndarray, rows: int, columns: int) -> None:
        for name, array in facets.items():
            if array.ndim == 3 and array.shape[1] != rows * columns:
                raise SettingsError(
                    f"backbone {self._spec.name} gives {array.shape[1]} {name} for frames of {rgb.shape[1]}x"
                    f"{rgb.shape[2]} pixels instead of {rows}x{columns}: choose another size, stage or stride"
                )

    def _autocast(self) -> torch.autocast:
        dtype = AUTOCAST.get(self._spec.precision)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)


def load_model(spec: BackboneSpec) -> tuple[nn.Module, str]:
    """The model of ``spec`` without its classifier, on the CPU, and the digest of its weights file.

    Random weights depend on ``spec.seed`` alone; the global generator is left as it was.
    """
    known = known_model(spec.name)
    if known is not None and known.family == "video":
        return load_video_model(spec, known)
    name = _timm_name(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        model = timm.create_model(name, pretrained=False, num_classes=0)
    return model, load_weights(model, spec)


def make_encoder(spec: BackboneSpec, model: nn.Module) -> VitEncoder | CnnEncoder | VideoEncoder:
    """What computes the facets of ``spec`` with ``model``."""
    if isinstance(model, VideoVit):
        return VideoEncoder(model, frames_together(spec.name))
    if isinstance(model, VisionTransformer):
        known = known_model(spec.name)
        mode = known.positions if known else "antialias"
        computed = tuple(facet for facet in spec.facets if facet != PIXELS) or ("tokens",)
        return VitEncoder(model, computed, spec.layer, spec.norm == "after", mode)
    if spec.facets != CnnEncoder.facets:
        raise SettingsError(f"backbone {spec.name} has no facet {', '.join(spec.facets)}: choose tokens")
    with torch.random.fork_rng(devices=[]):
        return CnnEncoder(_timm_name(spec), model, spec.stage, spec.stride)


def statistics(spec: BackboneSpec, model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel mean and deviation of ``spec``, by default those ``model`` was trained with."""
    if spec.statistics != "auto":
        return STATISTICS[spec.statistics]
    config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    return tuple(config["mean"]), tuple(config["std"])


def _timm_name(spec: BackboneSpec) -> str:
    known: KnownModel | None = known_model(spec.name)
    name = known.timm if known else spec.name
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, [*KNOWN, *timm.list_models()], n=3)
        raise SettingsError(
            f"backbone.name={spec.name}: neither the table nor timm {timm.__version__} knows it"
            + (f"; did you mean {' or '.join(near)}?" if near else "")
        )
    return name


def _device(device: str, spec: BackboneSpec) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise SettingsError(f"run.device={device} is unknown: choose cpu, cuda, cuda:<n> or auto") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(f"run.device={device}: this machine has no usable GPU; choose cpu")
    if chosen.type == "cpu" and spec.precision == "fp16":
        raise SettingsError("backbone.precision=fp16 needs a GPU: choose fp32 or bf16, or another device")
    return chosen


def _compiled(encoder: nn.Module) -> Any:
    """``encoder`` compiled for each shape it meets, never silently run uncompiled."""
    import torch._dynamo.config as dynamo

    dynamo.recompile_limit = max(dynamo.recompile_limit, RECOMPILE_LIMIT)
    dynamo.fail_on_recompile_limit_hit = True
    return torch.compile(encoder, dynamic=False)


@contextmanager
def _numerics(threads: int) -> Iterator[None]:
    """Fixed threads, full fp32 products and deterministic convolutions inside; as before outside."""
    before, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(before)


def _to_host(facet: str, values: torch.Tensor) -> np.ndarray:
    """fp16 on the device, then the copy; a value beyond fp16 is an error, never an infinity in the store."""
    half = values.to(torch.float16)
    finite = torch.isfinite(half).flatten(1).all(dim=1)
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0])
        largest = float(values[first].abs().max())
        detail = "is not a number" if largest != largest else f"reaches {largest:.6g}, beyond fp16's 65504"
        raise FeatureOverflowError(facet, first, detail)
    return half.cpu().numpy()
