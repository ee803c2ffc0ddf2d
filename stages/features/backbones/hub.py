"""Fetching released weights: into torch's or huggingface's cache, or one clear sentence."""

from __future__ import annotations

import os
import shutil
import tempfile
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlparse

import torch.hub

from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec
from stages.features.backbones.table import known_model

TIMEOUT_S = 10.0
"""Longest silence of a server, in seconds."""


def hub_file(spec: BackboneSpec) -> Path:
    """The local copy of the weights released for ``spec``, fetched at the first call.

    Raises:
        SettingsError: they can't be fetched; the message names the file and where to put it.
    """
    known = known_model(spec.name)
    if known is None:
        return _timm_file(spec)
    target = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(known.url).path).name
    if target.exists():
        return target
    try:
        download(known.url, target)
    except (OSError, HTTPException) as error:
        raise SettingsError(
            f"the released weights of {spec.name} can't be fetched ({_reason(error)}): put {known.url} "
            f"at {target}, or anywhere else with --set backbone.weights=PATH (weights=random needs no file)"
        ) from error
    return target


def download(url: str, target: Path, timeout_s: float = TIMEOUT_S) -> None:
    """Fetch ``url`` into ``target``, which appears only when complete.

    Raises:
        OSError: the server can't be reached, is silent for ``timeout_s`` seconds, or stops too early.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(url, timeout=timeout_s) as answer:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                shutil.copyfileobj(answer, file)
            expected = answer.headers.get("Content-Length")
            size = Path(temporary).stat().st_size
            if expected is not None and size != int(expected):
                raise OSError(f"{size} of {expected} bytes arrived")
            Path(temporary).replace(target)
        finally:
            Path(temporary).unlink(missing_ok=True)


def _timm_file(spec: BackboneSpec) -> Path:
    """The safetensors file of a timm model in its hub repository, at the spec's revision."""
    import timm
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    config = timm.get_pretrained_cfg(spec.name)
    if config is None or not config.hf_hub_id:
        raise SettingsError(
            f"timm has no released weights for {spec.name}: give a file with --set backbone.weights=PATH, "
            "or random"
        )
    repository, name = config.hf_hub_id, config.hf_hub_filename or "model.safetensors"
    try:
        return Path(hf_hub_download(repository, name, revision=spec.revision, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        _reach(repository, name, spec.revision)
        return Path(hf_hub_download(repository, name, revision=spec.revision, etag_timeout=TIMEOUT_S))
    except (OSError, EntryNotFoundError) as error:
        raise SettingsError(
            f"the released weights of {spec.name} can't be fetched ({_reason(error)}): get {name} of the "
            f"hub repository {repository} (revision {spec.revision}) and give it with "
            "--set backbone.weights=PATH (weights=random needs no file)"
        ) from error


def _reach(repository: str, name: str, revision: str) -> None:
    """Ask the hub for the file once, since huggingface_hub would retry for half a minute.

    Raises:
        OSError: there is no answer. A refusal is an answer: huggingface_hub explains it better.
    """
    from huggingface_hub import hf_hub_url

    request = urllib.request.Request(hf_hub_url(repository, name, revision=revision), method="HEAD")
    with suppress(HTTPError), urllib.request.urlopen(request, timeout=TIMEOUT_S):
        pass


def _reason(error: Exception) -> str:
    lines = str(getattr(error, "reason", "") or error).splitlines()
    return lines[0].strip().rstrip(".") if lines else type(error).__name__
