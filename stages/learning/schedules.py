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


def warmup_halving(step: int, warmup: int, half_life: int, decay_from: int = 0) -> float:
    """Linear from 0 over ``warmup`` steps, times a half for every ``half_life`` steps after ``decay_from``.

    VOL decays from step 0 on, warm-up included (methods sheet 1.4); DINOSAUR when it is warm (sheet 6.1).
    """
    rise: float = min(1.0, step / warmup) if warmup else 1.0
    return rise * math.pow(0.5, max(step - decay_from, 0) / half_life)


def cosine(step: int, steps: int, final: float) -> float:
    """From 1 at step 0 along a half cosine to ``final`` at ``steps``."""
    return final + 0.5 * (1 - final) * (1 + math.cos(math.pi * step / steps))


def constant(step: int, steps: int) -> float:
    """Always 1."""
    return 1.0
