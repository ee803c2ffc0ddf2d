"""How far a run is: bars on a terminal, one line every ten seconds elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from cluster.chain import Receipt
from pipelines.rates import measure

LINE_S = 10.0
"""Seconds between two status lines."""


@dataclass
class StageProgress:
    """Counts of one stage within this run."""

    kind: str
    total: int | None
    done: int = 0
    rejected: int = 0
    skipped: int = 0
    frames: int = 0
    bytes: int = 0
    shards: int = 0
    made: int = 0
    """Of the shards those that this run has made itself; others were there, or another run was first."""
    seconds: float = 0.0
    """Spent by all workers together."""
    cpu: float = 0.0
    """CPU seconds of all workers and their decoders together."""
    measured: dict[str, dict[str, float]] = field(default_factory=dict)
    """Sums over the shards that were really made, for later estimates, by the hardware that made them."""

    @property
    def finished(self) -> int:
        """Videos with any outcome."""
        return self.done + self.rejected + self.skipped


class _Rate(ProgressColumn):
    """Frames per second, or videos per second where a stage stores no frames."""

    def render(self, task: Task) -> Text:
        elapsed = task.finished_time or task.elapsed or 0
        frames = task.fields.get("frames", 0)
        if elapsed <= 0:
            return Text("")
        return Text(f"{frames / elapsed:,.0f} frames/s" if frames else f"{task.completed / elapsed:,.1f}/s")


class Reporter:
    """Takes receipts and shows them.

    Args:
        on_change: called with the counts by stage after each receipt.
        quiet: show nothing.
        on_receipt: called with the stage's kind and each receipt.
        line: takes the status lines, which then are all there is; default: the console.
    """

    def __init__(
        self,
        console: Console,
        stages: list[StageProgress],
        on_change: Callable[[dict[str, Any]], None],
        quiet: bool = False,
        on_receipt: Callable[[str, Receipt], None] | None = None,
        line: Callable[[str], None] | None = None,
    ) -> None:
        self._console = console
        self._stages = stages
        self._on_change = on_change
        self._began = time.monotonic()
        self._quiet = quiet
        self._on_receipt, self._line = on_receipt, line
        self._ended = threading.Event()
        self._liner = threading.Thread(target=self._print_lines, name="status-line", daemon=True)
        self._bars: Progress | None = None
        self._ids: list[Any] = []
        if console.is_terminal and not quiet and line is None:
            self._bars = Progress(
                TextColumn("{task.description:>9}"),
                BarColumn(),
                TextColumn("{task.completed:,}/{task.total:,} videos"),
                _Rate(),
                TimeRemainingColumn(),
                console=console,
            )

    def __enter__(self) -> Reporter:
        if self._bars is not None:
            self._bars.start()
            self._ids = [self._bars.add_task(s.kind, total=s.total or 0, frames=0) for s in self._stages]
        elif not self._quiet:
            self._liner.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._bars is not None:
            self._bars.stop()
        elif not self._quiet:
            self._liner.join()

    def take(self, receipt: Receipt) -> None:
        """Count one receipt."""
        stage = self._stages[receipt.level]
        stage.done += receipt.done
        stage.rejected += receipt.rejected
        stage.skipped += receipt.skipped
        stage.frames += receipt.frames
        stage.bytes += receipt.bytes
        stage.shards += 1
        stage.made += receipt.seconds > 0
        stage.seconds += receipt.seconds
        stage.cpu += receipt.cpu
        measure(stage.measured, receipt)
        if not receipt.again and receipt.level + 1 < len(self._stages):
            self._announce(self._stages[receipt.level + 1], receipt)
        self._on_change({s.kind: asdict(s) for s in self._stages})
        if self._on_receipt is not None:
            self._on_receipt(stage.kind, receipt)
        self._show()

    def _announce(self, below: StageProgress, receipt: Receipt) -> None:
        """What a shard hands on becomes known work of the next stage."""
        below.total = (below.total or 0) + receipt.done + receipt.rejected

    def _show(self) -> None:
        if self._bars is not None:
            for task, stage in zip(self._ids, self._stages, strict=True):
                total = max(stage.total or 0, stage.finished)
                self._bars.update(task, completed=stage.finished, total=total, frames=stage.frames)

    def _print_lines(self) -> None:
        while not self._ended.wait(LINE_S):
            if self._line is not None:
                self._line(self.line())
            else:
                self._console.print(self.line(), soft_wrap=True, highlight=False, markup=False)

    def line(self) -> str:
        """The state of all stages in one line."""
        elapsed = max(time.monotonic() - self._began, 1e-9)
        parts = []
        for stage in self._stages:
            text = f"{stage.kind} {stage.finished:,}/{max(stage.total or 0, stage.finished):,}"
            if stage.rejected:
                text += f" ({stage.rejected} rejected)"
            if stage.frames:
                text += f", {stage.frames / elapsed:,.1f} frames/s"
            left = (stage.total or 0) - stage.finished
            if stage.finished and left > 0:
                text += f", {left * elapsed / stage.finished:,.0f} s left"
            parts.append(text)
        return f"[{elapsed:6.0f} s] " + " | ".join(parts)
