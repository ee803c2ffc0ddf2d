"""What a training will take, from the figures that earlier trainings left beside their models."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.graph import BoundWhole
from stages.artifacts import whole
from stages.artifacts.place import Place, matches

_COSTLY = ("batch", "precision")
"""The settings of ``train`` that change what a step costs; the others change how many there are."""
_CHECKPOINT = re.compile(r"step-(\d+)$")


@dataclass(frozen=True)
class Training:
    """A finished training of a store.

    Attributes:
        fits: steps and seconds of each of its models, by name.
        steps, epochs: as they were asked for.
        videos: it learned from.
    """

    artifact: str
    fits: Mapping[str, tuple[int, float]]
    steps: int | None
    epochs: int | None
    videos: int


def seconds_left(bound: BoundWhole, store: Place, videos: float | None) -> tuple[float, str] | None:
    """Seconds that a training will take, and by which earlier one; None where no like one was measured.

    Steps that its checkpoints already have are not counted.

    Args:
        videos: it would learn from; None where unknown.
    """
    for earlier in _like(bound, store):
        wanted = _steps(bound, earlier, videos)
        if wanted is not None:
            folder = bound.folder / "checkpoints"
            left = sum(
                max(scale * steps - _taken(folder / fit), 0) * seconds / steps
                for fit, (steps, seconds) in earlier.fits.items()
                for scale in [wanted]
            )
            return left, earlier.artifact
    return None


def _steps(bound: BoundWhole, earlier: Training, videos: float | None) -> float | None:
    """How many times as many steps as ``earlier`` the training takes; None where nobody can say yet."""
    train = train_settings(bound.stage.identity())
    if train.get("steps"):
        return float(train["steps"] / earlier.steps) if earlier.steps else None
    if earlier.steps or not earlier.epochs or not earlier.videos or videos is None:
        return None
    return float(train["epochs"] / earlier.epochs * videos / earlier.videos)


def _like(bound: BoundWhole, store: Place) -> Iterator[Training]:
    """Finished trainings whose steps cost the same, those of the same artifact first."""
    mine = _cost(bound.stage.identity())
    features = [artifact.root.name for artifact in bound.inputs][-1:]
    descriptions = matches(store / bound.stage.kind, "*/stage.json")
    for path in sorted(descriptions, key=lambda path: path.parent.name != bound.folder.name):
        try:
            described = json.loads(path.read_text())
            found = whole.current(path.parent)
            if found is None or _cost(described["identity"]) != mine or described["inputs"][-1:] != features:
                continue
            if (training := _read(found[0], path.parent.name)) is not None:
                yield training
        except (OSError, ValueError, KeyError):
            continue  # another run is making or removing it


def _read(files: Place, artifact: str) -> Training | None:
    for path in matches(files, "*.json"):
        if "training" in (content := json.loads(path.read_text())):
            figures = content["training"]
            each = {"": figures} if "steps" in figures else figures
            fits = {name: (int(f["steps"]), float(f["seconds"])) for name, f in each.items() if f["steps"]}
            train = content["train"]
            return Training(artifact, fits, train["steps"], train["epochs"], int(content["videos"]))
    return None


def _cost(identity: Mapping[str, Any]) -> dict[str, Any]:
    """``identity`` without what only says how many steps there are."""
    cost = copy.deepcopy(dict(identity))
    fields = _fields(cost)
    fields.pop("videos", None)
    if isinstance(fields.get("train"), dict):
        fields["train"] = {key: fields["train"].get(key) for key in _COSTLY}
    return cost


def train_settings(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of ``train`` in a stage's identity; none where it has no such section."""
    return dict(_fields(identity).get("train") or {})


def _fields(identity: Mapping[str, Any]) -> dict[str, Any]:
    found = identity.get("fields")
    return found if isinstance(found, dict) else {}


def _taken(folder: Place) -> int:
    """Steps of the latest checkpoint in ``folder``."""
    try:
        found = [_CHECKPOINT.match(path.name) for path in folder.iterdir()]
    except FileNotFoundError:  # none yet, or the training has just ended
        return 0
    return max((int(match[1]) for match in found if match), default=0)
