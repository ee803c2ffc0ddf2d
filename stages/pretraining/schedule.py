"""How long and how fast VideoMAE is pre-trained (methods sheet 1.4). Imports no torch."""

from __future__ import annotations

from stages.learning.schedules import cosine

EPOCHS = 800
WARMUP_SHARE = 40 / EPOCHS
"""Of all steps."""
BASE_RATE = 1.5e-4
"""Peak learning rate of 256 clips a step."""
BASE_BATCH = 256
WARMUP_START = 1e-6 / BASE_RATE
"""Factor on the peak at the first step."""
FINAL = 1e-5 / BASE_RATE
"""Factor on the peak at the end."""
BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.05
MASKED_SHARE = 0.9
"""Of a frame's patches."""


def peak_rate(batch: int) -> float:
    """The peak learning rate for steps of ``batch`` clips, all processes together; 3e-4 for 512."""
    return BASE_RATE * batch / BASE_BATCH


def warmup_cosine(
    step: int,
    steps: int,
    warmup: float = WARMUP_SHARE,
    start: float = WARMUP_START,
    final: float = FINAL,
) -> float:
    """The factor on the peak rate for optimisation step ``step`` (from 0) of ``steps``.

    Linear from ``start`` to 1 over the share ``warmup`` of the steps, then a half cosine to ``final``.
    """
    rising = int(warmup * steps)
    if step < rising:
        return start + (1 - start) * step / rising
    return cosine(step - rising, steps - rising, final)
