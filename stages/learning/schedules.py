"""Learning-rate schedules, as factors on the peak rate."""

from __future__ import annotations

import math

WARMUP_SHARE = 0.05
WARMUP_START = 1e-5


def warmup_exponential(step: int, steps: int) -> float:
    """SOLV's factor for optimisation step ``step`` (from 0) of ``steps`` (methods sheet 2.4).

    Linear from 1e-5 to 1 over the first 5 % of the steps, then halved every third of what is left.
    """
    warmup = int(WARMUP_SHARE * steps)
    if step < warmup:
        return WARMUP_START + (1 - WARMUP_START) * step / warmup
    half = max((steps - warmup) // 3, 1)
    return math.exp(math.log(0.5) / half * (step - warmup))


def cosine(step: int, steps: int, final: float) -> float:
    """From 1 at step 0 along a half cosine to ``final`` at ``steps``."""
    return final + 0.5 * (1 - final) * (1 + math.cos(math.pi * step / steps))


def constant(step: int, steps: int) -> float:
    """Always 1."""
    return 1.0
