"""VideoMAE's checkpoints into the video transformer: pre-trained, fine-tuned, or made here."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from stages.errors import SettingsError
from stages.features.backbone_spec import file_digest
from stages.features.backbones.video_vit import VideoVit
from stages.features.backbones.weights import State, load_strictly, read_file

PREFIXES = ("module.", "backbone.")
ENCODER = "encoder."
EXTRA = ("norm.", "fc_norm.", "head.", "decoder.", "encoder_to_decoder.", "mask_token")
"""What checkpoints hold beside the encoder's blocks: final norms, classifiers, pre-training's decoder."""
PATCHES, POSITIONS = "patch_embed.proj.weight", "pos_embed"
_CLOSE = 1e-4


def load_video_weights(model: VideoVit, path: Path) -> str:
    """Load the checkpoint ``path`` (.pth, .pt or .safetensors) into ``model``, one that ends without a norm.

    Taken are the blocks and the patch embedding, whether the file is of pre-training (``encoder.`` before the
    names) or fine-tuned; the decoder, final norms and classifiers are left out, and nothing else may be left
    over. A stored position code must be this model's, since it is fixed.

    Returns:
        SHA-256 (hex) of the file.

    Raises:
        SettingsError: no such file, a pickle with code in it, patches of several frames, another position
            code, or names and shapes that do not fit (they are named).
    """
    digest = file_digest(str(path))
    state = _encoder(_read(path))
    _refuse_deep_patches(state, path)
    _refuse_other_positions(state.pop(POSITIONS, None), model, path)
    load_strictly(model, state, str(path))
    return digest


def _read(path: Path) -> State:
    """The tensors of the file. Published ones hold the command's arguments too, a harmless `Namespace`."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        return read_file(path)


def _encoder(state: State) -> State:
    """The encoder's part of a checkpoint, under the model's own names."""
    for prefix in (*PREFIXES, ENCODER):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return {name: value for name, value in state.items() if not name.startswith(EXTRA)}


def _refuse_deep_patches(state: State, path: Path) -> None:
    weight = state.get(PATCHES)
    if weight is not None and weight.ndim == 5 and weight.shape[2] != 1:
        raise SettingsError(
            f"weights file {path} has patches of {weight.shape[2]} frames each, as most released VideoMAE"
            " models do, but here a patch is one frame deep: give weights of VOL's VideoMAE, or make"
            " some with the recipe pretrain_videomae"
        )


def _refuse_other_positions(found: torch.Tensor | None, model: VideoVit, path: Path) -> None:
    if found is None:
        return
    found = found.squeeze(0).to(model.code)
    if found.shape != model.code.shape or not torch.allclose(found, model.code, atol=_CLOSE):
        raise SettingsError(
            f"weights file {path} was trained with another position code than the fixed one of time, row and"
            f" column for {' x '.join(map(str, model.sizes.native))} tokens: give weights of VOL's VideoMAE"
        )
