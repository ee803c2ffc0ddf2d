"""Artifacts of fit and reduce stages: a folder of files, made and replaced as a whole.

``<artifact>/<state8>/`` holds the files made from one state of the inputs; ``_SUCCESS.json`` names the folder
that counts. A new state is computed beside the old one, which is removed after the switch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stages.artifacts import atomic, leases
from stages.artifacts.layout import FORMAT_VERSION, Artifact, environment

LEASE = ".lease.json"
"""The file in a fit artifact's folder that says who is training."""


def input_state(inputs: Sequence[Artifact], wholes: Sequence[Path] = ()) -> str:
    """A digest of what the inputs hold: it changes with every new shard (a repair keeps the bytes).

    Args:
        wholes: folders of fit and reduce stages among the inputs.
    """
    state = hashlib.sha256()
    for artifact in inputs:
        state.update(artifact.root.name.encode())
        for shard in artifact.committed():
            state.update(f"\n{shard}".encode())
    for folder in wholes:
        state.update(f"\n{folder.name} {current(folder)}".encode())
    return state.hexdigest()


def exclusively(
    folder: Path, tell: Callable[[leases.Holder], None] | None = None
) -> contextlib.AbstractContextManager[None]:
    """Hold the lease of a fit artifact's ``folder``; waits while another living run trains the same model.

    Args:
        tell: called with who has it, now and then during the wait.
    """
    return leases.exclusively(folder / LEASE, tell)


def current(folder: Path) -> tuple[Path, str] | None:
    """The folder of files that counts and the input state it was made from, or None."""
    try:
        success = json.loads((folder / "_SUCCESS.json").read_text())
    except FileNotFoundError:
        return None
    return folder / success["files"], success["inputs"]


def produce(folder: Path, description: dict[str, Any], state: str, make: Callable[[Path], None]) -> Path:
    """Have ``make`` fill a private folder, publish it under ``folder`` and return where it is."""
    with atomic.store_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        content = {"format_version": FORMAT_VERSION, **description, "environment": environment()}
        atomic.create(folder / "stage.json", (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())
        private = folder / f".{uuid.uuid4().hex}{atomic.TEMP_SUFFIX}"
        private.mkdir()
        try:
            make(private)
            final = folder / state[:8]
            try:
                private.replace(final)
            except OSError:
                if not final.is_dir():
                    raise
                # a run on the same inputs was first, or was killed before it could say so: it is complete
        finally:
            shutil.rmtree(private, ignore_errors=True)
        success = {"files": final.name, "inputs": state}
        atomic.write_bytes(folder / "_SUCCESS.json", (json.dumps(success, sort_keys=True) + "\n").encode())
    for other in folder.iterdir():
        if other.is_dir() and other != final and not other.name.startswith("."):
            shutil.rmtree(other, ignore_errors=True)
    return final
