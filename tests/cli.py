"""Running the command line as a user does: in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.outside import PROJECT

RUN = [sys.executable, str(PROJECT / "pipelines" / "run.py")]


def environment(**extra: str) -> dict[str, str]:
    """The tests' environment without anything that would point a run elsewhere."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("TUBEFLOW_", "RAY_"))}
    return {**env, "RAY_AUTH_MODE": "token", **extra}


def run(*args: object, code: int | None = 0, cwd: Path | None = None, timeout: float = 300, **env: str):
    """Run ``pipelines/run.py`` with ``args``; fails unless it exits with ``code`` (None: any)."""
    done = subprocess.run(
        [*RUN, *map(str, args)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout,
        env=environment(**env),
        check=False,
    )
    assert code is None or done.returncode == code, (
        f"exit {done.returncode} instead of {code}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
    )
    return done


def run_json(*args: object, code: int | None = 0, **options: Any) -> dict[str, Any]:
    """As `run` with ``--json``: the one object on standard output."""
    return json.loads(run(*args, "--json", code=code, **options).stdout)


def features(root: Path, store: Path, *args: object) -> list[object]:
    """Arguments of a small ``features`` run, fast enough for tests."""
    base = ["features", "--set", f"data.root={root}", "--set", f"store={store}", "--set", "decode.fps=all"]
    return [*base, "--set", "decode.size=[48,64]", *args]


def digests(store: Path, pattern: str = "*") -> dict[str, str]:
    """SHA-256 of every data file, manifest and reject list of a store, by path relative to the store."""
    found = {}
    for folder in ("shards", "manifest", "rejects"):
        for path in sorted(store.glob(f"{pattern}/*/{folder}/*")):
            if not path.name.startswith("."):
                found[str(path.relative_to(store))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
