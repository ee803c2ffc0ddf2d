"""Patch-level CLIP: the branch that is trained beside CLIP's last block, its loss and its optimisation.

Methods sheet 1.2.5 (architecture), 1.3 (loss) and 1.4 (optimisation).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F

from stages.labeling.clip_patches import PatchTower
from stages.learning.schedules import cosine

RATE = 1.0
FINAL_RATE = 1e-7
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
EPOCHS = 200
BATCH = 512
"""Images of one process, which are each other's negatives; nothing is gathered from other processes."""
CROP_SCALE = (0.9, 1.0)
"""Share of the image's area that a training crop keeps; resized bicubically, flipped half the time."""


class Embedder(nn.Module):
    """Two paths from D to E channels, added: a linear one, and linear, ReLU, linear."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.shortcut = nn.Linear(width, embedding)
        self.linear1 = nn.Linear(width, embedding)
        self.linear2 = nn.Linear(embedding, embedding)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., D) to (..., E), every token alone."""
        found: Tensor = self.shortcut(tokens) + self.linear2(self.linear1(tokens).relu())
        return found


class PatchBranch(nn.Module):
    """The trained branch: residual attention block, class token dropped, layer norm, embedder.

    Args:
        width: D, the tower's.
        heads: of the attention.
        embedding: E, of CLIP's shared space.
    """

    def __init__(self, width: int, heads: int, embedding: int) -> None:
        super().__init__()
        self.block = ResidualAttentionBlock(width, heads, act_layer=QuickGELU)
        self.norm = nn.LayerNorm(width)
        self.embedder = Embedder(width, embedding)

    @classmethod
    def of(cls, tower: PatchTower) -> PatchBranch:
        """A branch with the sizes of ``tower``."""
        return cls(tower.width, tower.heads, tower.embedding)

    def forward(self, penultimate: Tensor) -> Tensor:
        """Patch features (B, N, E) of penultimate tokens (B, 1 + N, D), into which no gradient flows."""
        found: Tensor = self.embedder(self.norm(self.block(penultimate.detach())[:, 1:]))
        return found


@dataclass(frozen=True)
class Contrast:
    """The loss and what it is made of.

    Attributes:
        loss: scalar.
        weights: (B, N), how much each patch counts; sums to 1 per image.
        pooled: (B, E), the weighted sum of the patch features.
        right: scalar, share of images whose own embedding is the nearest of the batch's.
    """

    loss: Tensor
    weights: Tensor
    pooled: Tensor
    right: Tensor


def contrast(features: Tensor, image: Tensor) -> Contrast:
    """InfoNCE with the image embedding in the place of a text (methods sheet 1.3).

    The weights are a softmax over patches of the raw dot product; the similarities are cosines without
    temperature; the negatives are the other images of the batch.

    Args:
        features: (B, N, E), of the branch.
        image: (B, E), CLIP's image embeddings; no gradient flows into them.
    """
    image = image.detach()
    weights = torch.einsum("bne,be->bn", features, image).softmax(dim=1)
    pooled = torch.einsum("bn,bne->be", weights, features)
    similarity = F.normalize(pooled, dim=1) @ F.normalize(image, dim=1).T
    target = torch.arange(len(image), device=image.device)
    right = (similarity.detach().argmax(dim=1) == target).float().mean()
    return Contrast(F.cross_entropy(similarity, target), weights, pooled, right)


def optimiser(branch: nn.Module, rate: float = RATE) -> torch.optim.SGD:
    """SGD as published; ``rate`` is the one at the first step."""
    return torch.optim.SGD(branch.parameters(), lr=rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)


def rate_factor(step: int, steps: int, rate: float = RATE) -> float:
    """The factor on ``rate`` at ``step`` of ``steps``: a half cosine down to 1e-7, without warm-up."""
    return cosine(step, steps, FINAL_RATE / rate)
