"""A trained patch branch on disk: ``branch.safetensors``, and ``branch.json``, which says whose it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.artifacts import scratch, whole
from stages.artifacts.place import Place
from stages.errors import SettingsError
from stages.features.backbones.weights import load_strictly, read_file
from stages.labeling.clip_patches import PatchTower
from stages.labeling.clip_spec import ClipSpec
from stages.labeling.patch_branch import PatchBranch

WEIGHTS = "branch.safetensors"
DESCRIPTION = "branch.json"


def tower_digest(tower: PatchTower) -> str:
    """SHA-256 (hex) of what the tower computes: its weights, sizes of patches and activation.

    It does not depend on where the weights came from, nor on the text encoder.
    """
    found = hashlib.sha256()
    activation = type(tower.visual.transformer.resblocks[0].mlp.gelu).__name__
    found.update(f"{tower.patch} {tower.native} {tower.heads} {activation}".encode())
    for name, tensor in sorted(tower.visual.state_dict().items()):
        found.update(f"\n{name} {tuple(tensor.shape)} ".encode())
        found.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def describe_branch(folder: Path, tower: PatchTower, more: Mapping[str, Any]) -> None:
    """Write what the branch in ``folder`` belongs to.

    Args:
        tower: the one whose tokens it was trained on.
        more: what else the description says.
    """
    sizes = {"width": tower.width, "heads": tower.heads, "embedding": tower.embedding}
    content = {"tower": tower_digest(tower), **sizes, **more}
    (folder / DESCRIPTION).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_branch(folder: Place, tower: PatchTower, spec: ClipSpec) -> PatchBranch:
    """The branch in ``folder``, frozen, in eval mode and on the CPU.

    Args:
        folder: an artifact of kind ``branch``, or the folder with its files.
        tower: the one that it will be put on.
        spec: of the tower, for messages.

    Raises:
        SettingsError: there is no branch, it can't be read, or it was trained on another tower.
    """
    files = whole.files(folder) or scratch.mirror(folder)
    content = _described(folder, files)
    if content.get("tower") != tower_digest(tower):
        raise SettingsError(
            f"label.branch={folder} was trained on another CLIP ({content.get('model', '?')}) than "
            f"label.model={spec.model} with label.weights={spec.weights}: give its model and weights, or "
            "adapt this one with the recipe adapt_patch_clip"
        )
    branch = PatchBranch.of(tower)
    load_strictly(branch, read_file(files / WEIGHTS), str(files / WEIGHTS))
    return branch.eval().requires_grad_(False)


def _described(folder: Place, files: Path) -> dict[str, Any]:
    try:
        content = json.loads((files / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"label.branch={folder} holds no finished branch: give the folder that a run of adapt_patch_clip "
            "printed"
        ) from error
    if not isinstance(content, dict):
        raise SettingsError(f"{files / DESCRIPTION} is no description of a branch: make it anew")
    return content
