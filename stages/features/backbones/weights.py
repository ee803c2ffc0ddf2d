"""Weights from the hub or a file into a model: names adapted, nothing missing, nothing left over."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec, file_digest, weights_file
from stages.features.backbones.hub import hub_file

State = dict[str, torch.Tensor]

CONTAINERS = ("state_dict", "model", "module", "teacher")
PREFIXES = ("module.encoder_q.", "module.base_encoder.", "module.", "backbone.")
HEADS = ("head.", "fc.", "classifier.", "last_linear.", "mask_token")


def load_weights(model: nn.Module, spec: BackboneSpec) -> str:
    """Load what ``spec.weights`` says into ``model`` (``random``: leave it as it was drawn).

    Returns:
        SHA-256 (hex) of the file that was loaded, ``""`` for random weights.

    Raises:
        SettingsError: no such file, an unreachable hub, a pickle with code in it, a file of another model.
    """
    if spec.weights == "random":
        return ""
    path = hub_file(spec) if spec.weights == "hub" else weights_file(spec.weights)
    digest = file_digest(str(path))
    load_strictly(model, adapt(read_file(path), model), str(path))
    return digest


def read_file(path: Path) -> State:
    """The tensors of a .safetensors file or of a torch checkpoint, which is read weights-only.

    Raises:
        SettingsError: the file is damaged, of another kind, or holds pickled code.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SettingsError(
            f"weights file {path} is refused: it holds pickled objects other than tensors, which could run "
            "code; save its state_dict as .safetensors and give that"
        ) from error
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SettingsError(
            f"weights file {path} can't be read ({reason}): give a .safetensors or .pth file"
        ) from error
    return _tensors(content, path)


def _tensors(content: Any, path: Path) -> State:
    """The innermost state dict of a checkpoint."""
    for name in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    items = content.items() if isinstance(content, Mapping) else ()
    state = {name: value for name, value in items if isinstance(value, torch.Tensor)}
    if not state:
        raise SettingsError(f"weights file {path} holds no state_dict: give one with tensors by name")
    return state


def adapt(state: State, model: nn.Module) -> State:
    """Names and layouts of the releases of DINO, DINOv2 and MoCo brought to timm's; heads are left out."""
    state = dict(state)
    for prefix in PREFIXES:
        if any(key.startswith(prefix) for key in state):
            state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    if "register_tokens" in state:
        # The release adds the class token's position embedding in the forward pass, timm has it folded in.
        positions = state.pop("pos_embed")
        state["cls_token"] = state["cls_token"] + positions[:, :1]
        state["pos_embed"] = positions[:, 1:]
        state["reg_token"] = state.pop("register_tokens")
    own = model.state_dict()
    return {key: value for key, value in state.items() if key in own or not key.startswith(HEADS)}


def load_strictly(model: nn.Module, state: State, source: str) -> None:
    """Load ``state`` into ``model``: every name and shape must match, training counters aside.

    Raises:
        SettingsError: names of weights that are missing, left over or of another shape.
    """
    own = model.state_dict()
    state = {k: v for k, v in own.items() if k.endswith(".num_batches_tracked")} | state
    wrong = {
        "missing": [key for key in own if key not in state],
        "unexpected": [key for key in state if key not in own],
        "of another shape": [k for k, v in own.items() if k in state and state[k].shape != v.shape],
    }
    if any(wrong.values()):
        parts = [f"{len(keys)} {kind}: {', '.join(keys[:3])}" for kind, keys in wrong.items() if keys]
        raise SettingsError(f"weights file {source} does not fit the model ({'; '.join(parts)})")
    model.load_state_dict(state, strict=True)
