from __future__ import annotations

import io
import time

from rich.console import Console

from cluster.chain import Receipt
from pipelines import progress
from pipelines.progress import Reporter, StageProgress
from tests.faults.processes import wait_until


def receipts(reporter: Reporter) -> None:
    reporter.take(Receipt(0, "000000", done=3, rejected=1))
    reporter.take(Receipt(1, "000000-00", done=2, skipped=1, frames=40, bytes=999))


def stages() -> list[StageProgress]:
    return [StageProgress("catalog", 8), StageProgress("features", None)]


def test_a_pipe_gets_one_status_line_per_interval(monkeypatch):
    monkeypatch.setattr(progress, "LINE_S", 0.2)
    out = io.StringIO()
    changes = []
    began = time.monotonic()
    with Reporter(Console(file=out), stages(), changes.append) as reporter:
        receipts(reporter)
        wait_until(lambda: out.getvalue().count("\n") >= 2, "two lines")
    lines = out.getvalue().splitlines()
    assert 2 <= len(lines) <= (time.monotonic() - began) / 0.2 + 1
    assert "catalog 4/8 (1 rejected)" in lines[-1]
    assert "features 3/4" in lines[-1]
    assert "frames/s" in lines[-1] and "s left" in lines[-1]
    assert "\x1b" not in out.getvalue()
    assert changes[-1]["features"]["frames"] == 40


def test_a_terminal_gets_bars():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with Reporter(console, stages(), lambda _: None) as reporter:
        receipts(reporter)
    text = out.getvalue()
    assert "catalog" in text and "4/8 videos" in text and "frames/s" in text


def test_quiet_means_silent(monkeypatch):
    monkeypatch.setattr(progress, "LINE_S", 0.05)
    out = io.StringIO()
    with Reporter(Console(file=out), stages(), lambda _: None, quiet=True) as reporter:
        receipts(reporter)
        time.sleep(0.15)
    assert out.getvalue() == ""


def test_what_is_told_does_not_change_afterwards():
    """A thread of its own writes it down."""
    told = []
    reporter = Reporter(Console(file=io.StringIO()), stages(), told.append, quiet=True)
    for hardware in ("a", "b"):
        reporter.take(Receipt(0, "000000", done=3, seconds=1.0, hardware=hardware))
    assert [list(counts["catalog"]["measured"]) for counts in told] == [["a"], ["a", "b"]]
