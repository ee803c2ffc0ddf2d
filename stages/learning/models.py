"""Trained models on disk: one safetensors file per fit, and what they are in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from stages.discovery.contract import FeatureShape, Method
from stages.errors import SettingsError
from stages.learning.checkpoint import tensors_of


def save_models(
    folder: Path,
    method: Method,
    shape: FeatureShape,
    models: Mapping[str, torch.nn.Module],
    more: dict[str, Any],
) -> None:
    """Write all fits and ``model.json`` into ``folder``."""
    for fit, model in models.items():
        save_file(tensors_of(model), folder / f"{fit}.safetensors")
    content = {"method": method.identity(training=True), "shape": vars(shape), "fits": list(models), **more}
    (folder / "model.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def load_models(folder: Path, method: Method, device: str = "cpu") -> dict[str, torch.nn.Module]:
    """All fits of a trained method, in eval mode.

    Raises:
        SettingsError: they are of another method or other options, or can't be read; names the folder.
    """
    try:
        content = json.loads((folder / "model.json").read_text())
        if change := _change(content["method"], method.identity(training=True)):
            raise SettingsError(f"the model in {folder} {change}: train it anew or use its own settings")
        shape = FeatureShape(**content["shape"])
        implementation = method.implement()
        models: dict[str, torch.nn.Module] = {}
        for fit in method.fits():
            model = implementation.model(fit, shape, models)
            model.load_state_dict(load_file(folder / f"{fit}.safetensors"))
            models[fit] = model.to(device).eval()
    except SettingsError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        why = " ".join(str(error).split())
        raise SettingsError(f"the model in {folder} can't be read ({why}): train it again") from error
    return models


def _change(known: dict[str, Any], mine: dict[str, Any]) -> str:
    """In what a trained method differs from the one asked for; "" where it does not."""
    if known == mine:
        return ""
    if known["method"] != mine["method"]:
        return f"is of method {known['method']}, not {mine['method']}"
    if known["version"] != mine["version"]:
        return f"is of version {known['version']} of {mine['method']}, which is at {mine['version']} now"
    before, after = known["options"], mine["options"]
    names = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    changes = ", ".join(f"{name} {before.get(name)} instead of {after.get(name)}" for name in names[:4])
    return f"has other options of {mine['method']} ({changes})"
