"""Trained models that a recipe is given: the settings they bring along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stages.artifacts import whole
from stages.artifacts.layout import FormatError, read_stage_json
from stages.artifacts.place import Place, StoreError, place
from stages.errors import SettingsError

SECTIONS = ("backbone", "decode", "method")
"""Settings that a model brings along, with its method's own: videos have to be seen as in its training."""


@dataclass(frozen=True)
class GivenModel:
    """A model that was trained before.

    Attributes:
        folder: its artifact.
        fingerprint: the artifact's.
        settings: the sections `SECTIONS` and the method's own, as they were in its training.
        features: identity of the features that it was trained on.
    """

    folder: Place
    fingerprint: str
    settings: dict[str, Any]
    features: dict[str, Any]


def read_model(text: str) -> GivenModel:
    """The model in the artifact folder ``text`` (as printed at the end of its run).

    Raises:
        SettingsError: there is none, or its training has not ended.
    """
    folder = place(text).expanduser().absolute()
    try:
        spec = read_stage_json(folder)
    except (FormatError, StoreError):
        raise
    except (OSError, ValueError, AttributeError) as error:  # the last: JSON, but no object
        raise SettingsError(f"model={text}: no model there (no readable stage.json in {folder})") from error
    if spec.get("kind") != "model":
        raise SettingsError(f"model={text} is an artifact of kind {spec.get('kind')}, not a model")
    if whole.current(folder) is None:
        raise SettingsError(
            f"model={text}: its training has not ended; run its recipe again to go on with it"
        )
    missing = next((key for key in ("fingerprint", "settings", "features") if key not in spec), None)
    if missing is not None:
        raise SettingsError(f"model={text}: no {missing} in {folder / 'stage.json'}; train the model again")
    return GivenModel(folder, spec["fingerprint"], spec["settings"], spec["features"])
