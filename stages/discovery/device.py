"""Where tensors live."""

from __future__ import annotations

import torch


def resolve_device(device: str) -> str:
    """``cpu`` or ``cuda``; ``auto`` is a GPU where there is one."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"
