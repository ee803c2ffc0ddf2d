"""Text features on disk, so that the text encoder runs once per model and vocabulary."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from stages.artifacts.atomic import write_bytes
from stages.artifacts.place import Place

TEXT_FOLDER = "text"
"""Folder of the store that keeps text features, for all runs on it."""
_VERSION = 1
"""Raised whenever the same key starts to mean other features."""


@dataclass(frozen=True)
class TextFeatures:
    """Features of the prompts of a vocabulary.

    Attributes:
        features: (n, E) float32, L2-normalised, in the order of the prompts.
        truncated: the prompts of which the text encoder did not read the end.
    """

    features: Tensor
    truncated: tuple[str, ...] = ()


def text_key(identity: Mapping[str, str], prompts: Sequence[str], names: Sequence[str]) -> str:
    """SHA-256 (hex) of the model's identity (`ClipSpec.identity`), the prompts and the names, in order."""
    content = [_VERSION, dict(identity), list(prompts), list(names)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def cached_text_features(
    folder: Place,
    identity: Mapping[str, str],
    prompts: Sequence[str],
    names: Sequence[str],
    encode: Callable[[Sequence[str]], TextFeatures],
) -> TextFeatures:
    """The features of ``prompts``, read from ``folder`` where they are, else made by ``encode`` and kept.

    A file that can't be read is made anew. Of processes that make the same one at once, each writes it whole.

    Args:
        folder: of the cache; made where it is absent.
        identity: of the model.
        prompts: one per name.
        names: what the prompts are for.
        encode: runs the text encoder; called only where there is no file, so it may load the model itself.

    Raises:
        StoreError: the folder can't be written.
    """
    path = _path(folder, identity, prompts, names)
    if (known := _read(path)) is not None:
        return known
    made = encode(prompts)
    metadata = {"truncated": json.dumps(made.truncated), "names": json.dumps(list(names))}
    write_bytes(path, save({"features": made.features.contiguous()}, metadata))
    return made


def known_text_features(
    folder: Place, identity: Mapping[str, str], prompts: Sequence[str], names: Sequence[str]
) -> TextFeatures | None:
    """The features in ``folder``, None where they are not; arguments are those of `cached_text_features`."""
    return _read(_path(folder, identity, prompts, names))


def _path(folder: Place, identity: Mapping[str, str], prompts: Sequence[str], names: Sequence[str]) -> Place:
    return folder / f"{text_key(identity, prompts, names)}.safetensors"


def _read(path: Place) -> TextFeatures | None:
    try:
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        truncated = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["truncated"])
        return TextFeatures(load(content)["features"], tuple(truncated))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
