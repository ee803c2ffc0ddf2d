"""Choosing and gathering patch tokens: what training drops (SOLV, methods sheet 2.2 and 2.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def choose_kept(shape: Sequence[int], ratio: float, draws: torch.Generator) -> Tensor:
    """Random positions, int64 (B, T, N'), ascending, chosen anew for every frame and sample.

    Args:
        shape: B, T, N.
        ratio: share of the N tokens that is dropped; at least one stays.
    """
    tokens = int(shape[2])
    kept = max(tokens - int(tokens * ratio), 1)
    order = torch.rand(tuple(shape), generator=draws).argsort(dim=-1)
    return order[..., :kept].sort(dim=-1).values


def gather_tokens(tokens: Tensor, kept: Tensor) -> Tensor:
    """Tokens (B, T, N, D) at positions (B, T, N'), as (B, T, N', D)."""
    return tokens.gather(2, kept[..., None].expand(*kept.shape, tokens.shape[-1]))


def pick_version(
    features: Mapping[tuple[str, str], Tensor], versions: int, facet: str, draws: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One of the stored pre-masked versions for every frame and sample.

    Returns:
        Tokens (B, T, N', D) and their positions int64 (B, T, N').
    """
    tokens = torch.stack([features[f"mask{i}", facet] for i in range(versions)])
    kept = torch.stack([features[f"mask{i}", "kept"] for i in range(versions)])[..., 0].long()
    batch, frames = tokens.shape[1:3]
    choice = torch.randint(versions, (batch, frames), generator=draws).to(tokens.device)
    rows = torch.arange(batch, device=tokens.device)[:, None]
    columns = torch.arange(frames, device=tokens.device)[None]
    return tokens[choice, rows, columns], kept[choice, rows, columns]
