"""Artifacts of fit and reduce stages: a folder of files, made and replaced as a whole.

``<artifact>/<state8>/`` holds the files made from one state of the inputs; ``_SUCCESS.json`` names the folder
that counts. A new state is computed beside the old one, which is removed after the switch. At a URL, where
nothing can be renamed, the folder has a name of its own for every attempt.
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

from stages.artifacts import atomic, leases, scratch
from stages.artifacts.layout import FORMAT_VERSION, Artifact, environment
from stages.artifacts.place import Place, Url, remove_tree

LEASE = ".lease.json"
"""The file in a fit artifact's folder that says who is training."""
CHECKPOINTS = "checkpoints"
"""Folder of a training's checkpoints in the artifact of its model; removed with its success."""


def input_state(inputs: Sequence[Artifact], wholes: Sequence[Place] = ()) -> str:
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
    folder: Place, tell: Callable[[leases.Holder], None] | None = None
) -> contextlib.AbstractContextManager[None]:
    """Hold the lease of a fit artifact's ``folder``; waits while another living run trains the same model.

    Args:
        tell: called with who has it, now and then during the wait.
    """
    return leases.exclusively(folder / LEASE, tell)


def current(folder: Place) -> tuple[Place, str] | None:
    """The folder of files that counts and the input state it was made from, or None."""
    try:
        success = json.loads((folder / "_SUCCESS.json").read_text())
    except FileNotFoundError:
        return None
    return folder / success["files"], success["inputs"]


def files(folder: Place) -> Path | None:
    """The folder of files that counts, on this machine; None where there is none."""
    found = current(folder)
    return None if found is None else scratch.mirror(found[0])


def produce(folder: Place, description: dict[str, Any], state: str, make: Callable[[Place], None]) -> Place:
    """Have ``make`` fill a private folder, publish it under ``folder`` and return where it is."""
    before = current(folder)
    with atomic.store_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        content = {"format_version": FORMAT_VERSION, **description, "environment": environment()}
        atomic.create(folder / "stage.json", (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())
        final = _uploaded(folder, state, make) if isinstance(folder, Url) else _made(folder, state, make)
        success = {"files": final.name, "inputs": state}
        atomic.write_bytes(folder / "_SUCCESS.json", (json.dumps(success, sort_keys=True) + "\n").encode())
    if isinstance(folder, Url):
        old = [] if before is None else [before[0]]
        for other in [*old, folder / CHECKPOINTS]:
            remove_tree(other)
    else:
        for path in folder.iterdir():
            if path.is_dir() and path != final and not path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)
    return final


def _made(folder: Path, state: str, make: Callable[[Place], None]) -> Path:
    """Fill a hidden folder and rename it."""
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
    return final


def _uploaded(folder: Url, state: str, make: Callable[[Place], None]) -> Url:
    """Fill a folder that nothing refers to yet."""
    final = folder / f"{state[:8]}-{uuid.uuid4().hex[:8]}"
    try:
        make(final)
    except BaseException:
        with contextlib.suppress(OSError):
            final.remove_tree()
        raise
    return final
