"""Ctrl-C and SIGTERM: exit 130, the command that goes on, and nothing left running."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import cli
from tests.faults.conftest import PER_SHARD, Command
from tests.faults.gates import shut
from tests.faults.processes import started
from tests.faults.stores import latest_run, leftovers, manifests
from tests.outside import PROJECT


def resumed(output: str) -> subprocess.CompletedProcess[str]:
    """Run the printed command as it stands."""
    (line,) = [line for line in output.splitlines() if line.startswith("interrupted; go on with: ")]
    python, script, *arguments = shlex.split(line.removeprefix("interrupted; go on with: "))
    assert (python, script) == ("python", "pipelines/run.py")
    return subprocess.run(
        [sys.executable, script, *arguments],
        cwd=PROJECT,
        env=cli.environment(),
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("number", "workers", "whole_group"),
    [(signal.SIGINT, 1, True), (signal.SIGTERM, 1, False), (signal.SIGINT, 2, True)],
)
def test_an_interrupted_run_says_how_to_go_on(
    number: int,
    workers: int,
    whole_group: bool,
    command: Command,
    video: Callable[[int], Path],
    reference: Path,
    tmp_path: Path,
) -> None:
    """Ctrl-C goes to the whole process group, as a terminal sends it; SIGTERM to the driver."""
    store = tmp_path / "a store"
    held = [video(PER_SHARD * shard + 1) for shard in range(1, 1 + workers)]
    with shut(*held) as gates, started(*command(store, "--workers", workers)) as run:
        run.until(lambda: gates.reached, "shards that are being made")
        (os.killpg if whole_group else os.kill)(run.process.pid, number)
        output = run.wait(130)
        run.await_end()
    assert "Traceback" not in output
    assert len(manifests(store, "features")) == 1
    assert latest_run(store)["state"] == "interrupted"
    assert workers > 1 or not leftovers(store), "a run tidies up after itself; its pool's workers are ended"
    again = resumed(output)
    assert again.returncode == 0, again.stderr
    assert cli.digests(store) == cli.digests(reference)
