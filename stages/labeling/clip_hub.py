"""The file of a released CLIP: from a cache on this machine, or fetched once."""

from __future__ import annotations

import os
from http.client import HTTPException
from pathlib import Path

import open_clip
import torch.hub
from huggingface_hub import hf_hub_url, try_to_load_from_cache

from stages.errors import SettingsError
from stages.features.backbones.hub import download
from stages.labeling.clip_spec import WEIGHTS_NAME, ClipSpec


def release_file(spec: ClipSpec) -> Path:
    """The local copy of the weights that ``spec.pretrained`` names, fetched at the first call.

    A copy in huggingface's cache, where open_clip leaves them, is used as it is.

    Raises:
        SettingsError: open_clip knows no such release, or it can't be fetched; names what to put where.
    """
    release = open_clip.get_pretrained_cfg(spec.model, spec.pretrained)
    if not release:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(spec.model)) or "none"
        raise SettingsError(
            f"label.pretrained={spec.pretrained!r}: open_clip knows no such release of {spec.model}, but "
            f"{tags}"
        )
    repository, name = os.path.split(release.get("hf_hub") or "")
    if not repository:
        return _fetched(spec, release["url"], Path(release["url"]).name)
    name = name or WEIGHTS_NAME
    cached = try_to_load_from_cache(repository, name, revision=spec.revision)
    if isinstance(cached, str):
        return Path(cached)
    url = hf_hub_url(repository, name, revision=spec.revision)
    return _fetched(spec, url, f"{repository}-{spec.revision}-{name}".replace("/", "-"))


def _fetched(spec: ClipSpec, url: str, name: str) -> Path:
    target = Path(torch.hub.get_dir()) / "checkpoints" / name
    if target.exists():
        return target
    try:
        download(url, target)
    except (OSError, HTTPException) as error:
        why = str(getattr(error, "reason", "") or error).strip().rstrip(".")
        raise SettingsError(
            f"the released weights {spec.model}/{spec.pretrained} can't be fetched ({why}): put {url} at "
            f"{target}, or anywhere else with --set label.weights=PATH (weights=random needs no file)"
        ) from error
    return target
