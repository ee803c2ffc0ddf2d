"""Curves as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from stages.report.page.model import Curve

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 12, 28


def chart(curve: Curve) -> str:
    """One curve with its axes; every point tells its value when pointed at."""
    points = [(step, value) for step, value in curve.points if math.isfinite(value)]
    if not points:
        return ""
    low, high = _bounds([value for _, value in points])
    last = max(step for step, _ in points) or 1

    def place(step: float, value: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        return x, TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (high - low))

    placed = [place(*point) for point in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    ticks = "".join(_tick(value, place(0, value)[1]) for value in (low, (low + high) / 2, high))
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="dot">'
        f"<title>step {step}: {value:.5g}</title></circle>"
        for (x, y), (step, value) in zip(placed, points, strict=True)
    )
    bottom = HEIGHT - BOTTOM
    return (
        f'<figure class="chart"><figcaption>{escape(curve.name)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(curve.name)} by step">{ticks}'
        f'<line x1="{LEFT}" y1="{bottom}" x2="{WIDTH - RIGHT}" y2="{bottom}" class="axis"/>'
        f'<text x="{LEFT}" y="{HEIGHT - 8}" class="tick">0</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" class="tick" text-anchor="end">step {last:,}</text>'
        f'<polyline points="{line}" class="curve"/>{dots}</svg></figure>'
    )


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low >= 0 and low < 0.5 * high:
        low = 0.0
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _tick(value: float, y: float) -> str:
    return (
        f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" class="grid"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" class="tick" text-anchor="end">{value:.3g}</text>'
    )
