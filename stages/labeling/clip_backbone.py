"""CLIP's image tower behind the backbone protocol; `ClipBackboneSpec` names it."""

from __future__ import annotations

from torch import Tensor, nn

from stages.features.backbone_spec import BackboneSpec, file_digest
from stages.features.backbones.torch_backbone import ChannelStatistics, TorchBackbone
from stages.labeling.clip_backbone_spec import ClipBackboneSpec
from stages.labeling.clip_hub import release_file
from stages.labeling.clip_model import load_clip
from stages.labeling.clip_patches import PatchTower


class TowerEncoder(nn.Module):
    """The facets `CLIP_FACETS` of images, of which ``facets`` are kept."""

    def __init__(self, tower: PatchTower, facets: tuple[str, ...]) -> None:
        super().__init__()
        self.tower, self.facets = tower, facets
        self.grid = tower.grid

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """``penultimate`` (B, N, D), ``penultimate_cls`` (B, D), ``embedding`` (B, E) of (B, 3, H, W)."""
        tokens = self.tower.penultimate(images)
        found = {"penultimate": tokens[:, 1:], "penultimate_cls": tokens[:, 0]}
        if "embedding" in self.facets:
            found["embedding"] = self.tower.finish(tokens)[0]
        return {facet: found[facet] for facet in self.facets}


class ClipBackbone(TorchBackbone):
    """See `Backbone`. It has patches, but none can be left out."""

    def _load(self, spec: BackboneSpec) -> tuple[TowerEncoder, str, ChannelStatistics]:
        assert isinstance(spec, ClipBackboneSpec)
        model = load_clip(spec.clip)
        tower = PatchTower(model.visual, spec.clip.model)
        random = spec.clip.weights == "random"
        digest = "" if random else file_digest(str(spec.clip.weights_file() or release_file(spec.clip)))
        mean, std = (tuple(values.flatten().tolist()) for values in (model.mean, model.std))
        return TowerEncoder(tower, spec.facets), digest, (mean, std)
