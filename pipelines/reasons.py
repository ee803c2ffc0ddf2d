"""Why a stage has no artifact yet: the nearest one beside it, and the settings in which it differs."""

from __future__ import annotations

import json
from typing import Any

from stages.artifacts.layout import Artifact
from stages.artifacts.place import matches
from stages.stage import Stage


def new_artifact_reason(artifact: Artifact, stage: Stage) -> str:
    """One clause, e.g. ``new settings: decode.fps 5 -> 2 (beside patchstats-1a2b3c4d)``."""
    mine = flatten(stage.identity())
    best: tuple[int, str, list[str]] | None = None
    for path in matches(artifact.root.parent, "*/stage.json"):
        try:
            theirs = flatten(json.loads(path.read_text())["identity"])
        except (OSError, ValueError, KeyError):
            continue
        changes = differences(theirs, mine)
        if best is None or len(changes) < best[0]:
            best = (len(changes), path.parent.name, changes)
    if best is None:
        return "first time"
    if not best[2]:
        return f"its input is new (beside {best[1]})"
    shown = ", ".join(best[2][:4]) + (", ..." if len(best[2]) > 4 else "")
    return f"new settings: {shown} (beside {best[1]})"


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; the wrapping ``fields`` level is left out."""
    if not isinstance(value, dict):
        return {prefix.rstrip("."): value}
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        flat |= flatten(entry, prefix if key == "fields" and not prefix else f"{prefix}{key}.")
    return flat


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """``key old -> new`` for every key in which two flat mappings differ."""
    changes = []
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            changes.append(f"{key} {old.get(key)} -> {new.get(key)}")
    return changes
