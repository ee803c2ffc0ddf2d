"""The report stage: one page about a run, made from its artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stages.artifacts.place import Place
from stages.stage import ReduceStage, WorkContext


@dataclass(frozen=True)
class ReportStage(ReduceStage):
    """Writes ``report.html``, one self-contained file. Its flow shows the run that made it."""

    kind: ClassVar[str] = "report"

    @property
    def name(self) -> str:
        """Always ``report``."""
        return "report"

    def make(self, inputs: Sequence[Place], folder: Path, context: WorkContext) -> None:
        """See `WholeStage.make`."""
        from stages.report.gather import gather
        from stages.report.page.render import render

        (folder / "report.html").write_text(render(gather(context)), encoding="utf-8")
