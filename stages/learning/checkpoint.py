"""Checkpoints of a training: safetensors and JSON, written whole or not at all, the last two kept."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.artifacts import atomic, scratch
from stages.artifacts.place import Place, Url, remove_tree
from stages.errors import SettingsError

KEPT = 2
_STATE = "state.json"
_NAME = re.compile(r"step-(\d{8})$")


@dataclass
class State:
    """How far a training is, beside weights and optimiser.

    Attributes:
        identity: what is trained, on what; a checkpoint of another identity is refused.
        step: optimisation steps taken. Order of clips, learning rate and random numbers follow from it and
            the seed: each step starts its generators anew.
        seen: clips consumed, by all processes together: the sampler's position.
        seconds: spent in earlier sittings.
        waited: of these, on waiting for data.
        history: ``[step, name, value]`` so far.
    """

    identity: str
    step: int = 0
    seen: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    history: list[tuple[int, str, float]] = field(default_factory=list)


def save(folder: Place, model: nn.Module, optimiser: torch.optim.Optimizer, state: State) -> Place:
    """Write a checkpoint below ``folder`` and remove all but the last two.

    Raises:
        StoreError: there is no room or no right to write.
    """
    if isinstance(folder, Url):
        return _upload(folder, model, optimiser, state)
    with atomic.store_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f".*{atomic.TEMP_SUFFIX}"):  # of a run that was killed while it wrote
            shutil.rmtree(left, ignore_errors=True)
        private = folder / f".{uuid.uuid4().hex}{atomic.TEMP_SUFFIX}"
        private.mkdir()
        _write(private, model, optimiser, state)
        for path in private.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        final = folder / f"step-{state.step:08d}"
        shutil.rmtree(final, ignore_errors=True)
        private.replace(final)
        for old in checkpoints(folder)[:-KEPT]:
            remove_tree(old)
    return final


def _upload(folder: Url, model: nn.Module, optimiser: torch.optim.Optimizer, state: State) -> Url:
    """Files one by one, the one that makes them a checkpoint last; removed the other way round."""
    final = folder / f"step-{state.step:08d}"
    (final / scratch.FILES).unlink(missing_ok=True)
    with scratch.filled(final) as private:
        _write(private, model, optimiser, state)
    for old in checkpoints(folder)[:-KEPT]:
        (old / scratch.FILES).unlink(missing_ok=True)
        remove_tree(old)
    return final


def _write(folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, state: State) -> None:
    save_file(tensors_of(model), folder / "model.safetensors")
    tensors, groups = flatten(optimiser)
    save_file(tensors, folder / "optimiser.safetensors")
    (folder / _STATE).write_text(json.dumps({**asdict(state), "groups": groups}))


def checkpoints(folder: Place) -> list[Place]:
    """All checkpoints below ``folder``, oldest first."""
    try:
        found: list[Place] = [path for path in folder.iterdir() if _NAME.match(path.name)]
    except FileNotFoundError:
        return []
    if isinstance(folder, Url):
        found = [path for path in found if (path / scratch.FILES).exists()]
    return sorted(found, key=lambda path: path.name)


def resume(folder: Place, model: nn.Module, optimiser: torch.optim.Optimizer, identity: str) -> State:
    """Load the latest checkpoint below ``folder`` into model and optimiser; a fresh state if there is none.

    Raises:
        SettingsError: it is of another configuration, or damaged; names the folder.
    """
    found = checkpoints(folder)
    if not found:
        return State(identity)
    latest = found[-1]
    try:
        with scratch.copied(latest) as files:
            return _load(files, latest, model, optimiser, identity)
    except (SettingsError, atomic.StoreError):
        raise
    except Exception as error:
        why = " ".join(str(error).split())
        raise SettingsError(
            f"the checkpoint {latest} can't be read ({why}): remove it to go on from the one before"
        ) from error


def _load(
    files: Path, where: Place, model: nn.Module, optimiser: torch.optim.Optimizer, identity: str
) -> State:
    content: dict[str, Any] = json.loads((files / _STATE).read_text())
    groups = content.pop("groups")
    state = State(**content)
    if state.identity != identity:
        raise SettingsError(
            f"the checkpoint {where} is of another configuration "
            f"({differing(state.identity, identity)}): remove {where.parent} to train from the start, or use "
            "the settings that it was made with"
        )
    model.load_state_dict(load_file(files / "model.safetensors"))
    unflatten(optimiser, load_file(files / "optimiser.safetensors"), groups)
    state.history = [(int(step), str(name), float(value)) for step, name, value in state.history]
    return state


def differing(old: str, new: str) -> str:
    """The keys in which two identities (JSON texts) differ, with their values."""
    before, after = _flat(json.loads(old)), _flat(json.loads(new))
    keys = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    return ", ".join(f"{k} {before.get(k)} instead of {after.get(k)}" for k in keys[:4])


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix.rstrip("."): value}
    return {k: v for key, entry in value.items() for k, v in _flat(entry, f"{prefix}{key}.").items()}


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The model's state on the CPU, each tensor with memory of its own."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}


def flatten(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """An optimiser's state as tensors by name, and its groups as plain data."""
    content = optimiser.state_dict()
    tensors = {
        f"{number}.{key}": torch.as_tensor(value).detach().cpu().contiguous().clone()
        for number, entries in content["state"].items()
        for key, value in entries.items()
        if value is not None  # SGD keeps None where there is no momentum
    }
    return tensors, content["param_groups"]


def unflatten(
    optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], groups: list[dict[str, Any]]
) -> None:
    """The inverse of `flatten`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": groups})
