"""A CLIP of open_clip, loaded: its tokenizer, its text and image encoders, its preprocessing."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from stages.errors import SettingsError
from stages.features.backbones.weights import load_strictly, read_file
from stages.labeling.clip_hub import release_file
from stages.labeling.clip_spec import CONFIG_NAME, WEIGHTS_NAME, ClipSpec

Tokenizer = Callable[..., Tensor]

_LONGER = 4
"""Times the context length at which a prompt is tokenised again to see whether some of it was cut off."""
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
_POSITION_IDS = "text.transformer.embeddings.position_ids"


class ClipModel(nn.Module):
    """A frozen CLIP in eval mode.

    Args:
        model: of open_clip, with its preprocessing configuration attached.
        tokenizer: prompts to token ids (n, context length) int64.
        width: E, channels of the embedding that images and texts share.

    Attributes:
        size: height and width in pixels of the images that the image encoder takes.
        context_length: most tokens of a prompt, its two marks included.
    """

    model: Any
    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, tokenizer: Tokenizer, width: int) -> None:
        super().__init__()
        self.model, self.tokenizer, self.width = model.eval().requires_grad_(False), tokenizer, width
        preprocess = model.visual.preprocess_cfg
        size = preprocess["size"]
        self.size: tuple[int, int] = (size, size) if isinstance(size, int) else tuple(size)
        for name in ("mean", "std"):
            values = torch.tensor(preprocess[name]).view(3, 1, 1)
            self.register_buffer(name, values, persistent=False)
        self.context_length: int = tokenizer(["a"]).shape[1]

    @property
    def visual(self) -> nn.Module:
        """open_clip's image tower."""
        visual: nn.Module = self.model.visual
        return visual

    @torch.no_grad()
    def text_features(self, prompts: Sequence[str], batch: int = 256) -> Tensor:
        """L2-normalised text features (n, E) float32 of ``prompts``, on the CPU."""
        device = self.mean.device
        parts = [
            self.model.encode_text(self.tokenizer(list(prompts[at : at + batch])).to(device), normalize=True)
            for at in range(0, len(prompts), batch)
        ]
        return torch.cat(parts).float().cpu() if parts else torch.zeros(0, self.width)

    def truncated(self, prompts: Sequence[str]) -> tuple[str, ...]:
        """Those of ``prompts`` that are longer than the text encoder's context: their ends are not read."""
        if not prompts:
            return ()
        short = self.tokenizer(list(prompts))
        long = self.tokenizer(list(prompts), context_length=_LONGER * self.context_length)
        length = short.shape[1]
        cut = (long[:, :length] != short).any(dim=1) | (long[:, length:] != long[:, -1:]).any(dim=1)
        return tuple(prompt for prompt, is_cut in zip(prompts, cut.tolist(), strict=True) if is_cut)

    def normalise(self, images: Tensor) -> Tensor:
        """Images (..., 3, H, W) in [0, 1] with the channel statistics that the model was trained with."""
        return (images - self.mean) / self.std

    @torch.no_grad()
    def image_embedding(self, images: Tensor) -> Tensor:
        """L2-normalised embeddings (n, E) of images (n, 3, H, W) of the model's ``size``, in [0, 1]."""
        found: Tensor = self.model.encode_image(self.normalise(images), normalize=True)
        return found


def load_clip(spec: ClipSpec, device: str = "cpu") -> ClipModel:
    """The model of ``spec`` with its weights.

    Random weights are announced by a warning. Released weights are fetched at the first call.

    Raises:
        SettingsError: weights that can't be fetched or read, or of another architecture: names the file and
            the first keys that differ.
    """
    model, tokenizer = build(spec)
    if (sentence := spec.warning()) is not None:
        warnings.warn(sentence, stacklevel=2)
    else:
        path = spec.weights_file() or release_file(spec)
        load_strictly(model, _adapted(_state(path), model), str(path))
    return ClipModel(model, tokenizer, spec.config()["embed_dim"]).to(device)


def save_clip(model: Any, config: dict[str, Any], folder: Path) -> None:
    """Write a model into ``folder`` in open_clip's layout: configuration and weights.

    Args:
        model: of open_clip.
        config: its configuration.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    preprocess = {key: model.visual.preprocess_cfg[key] for key in ("mean", "std")}
    content = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / CONFIG_NAME).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / WEIGHTS_NAME)


def build(spec: ClipSpec) -> tuple[Any, Tokenizer]:
    """The model of ``spec`` with random weights drawn from its seed, and its tokenizer.

    Raises:
        SettingsError: open_clip can't build it.
    """
    with _seeded(spec.seed), _named(spec) as name, _quiet():
        tag = {} if spec.is_own else open_clip.get_pretrained_cfg(spec.model, spec.pretrained)
        try:
            model = open_clip.create_model(
                name, load_weights=False, pretrained_image=False, pretrained_text=False,
                force_quick_gelu=bool(tag.get("quick_gelu")), force_preprocess_cfg=_statistics(tag),
            )  # fmt: skip
            return model, open_clip.get_tokenizer(name)
        except (TypeError, ValueError, AssertionError, OSError, RuntimeError, ImportError) as error:
            why = " ".join(str(error).split())
            raise SettingsError(f"label.model={spec.model}: open_clip can't build it ({why})") from error


def _statistics(tag: dict[str, Any]) -> dict[str, Any]:
    return {key: tag[key] for key in ("mean", "std") if key in tag}


@contextmanager
def _named(spec: ClipSpec) -> Iterator[str]:
    """What open_clip calls the model; a single .json gets a folder for as long as the model is built."""
    path = spec.config_path()
    if not spec.is_own:
        yield spec.model
    elif path.name == CONFIG_NAME:
        yield f"local-dir:{path.parent}"
    elif spec.config()["text_cfg"].get("hf_tokenizer_name"):
        raise SettingsError(
            f"{path} names a tokenizer of the hub: put it into a folder as {CONFIG_NAME} beside the "
            "tokenizer's files and give the folder with --set label.model=FOLDER"
        )
    else:
        content = json.loads(path.read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as folder:
            own = {"model_cfg": spec.config(), "preprocess_cfg": content.get("preprocess_cfg", {})}
            Path(folder, CONFIG_NAME).write_text(json.dumps(own), encoding="utf-8")
            yield f"local-dir:{folder}"


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Without open_clip's log of every step of building a model; the one that matters is a warning here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file; the first releases are TorchScript archives, in half precision."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            scripted = any(name.endswith("/constants.pkl") for name in archive.namelist())
        if scripted:
            return dict(torch.jit.load(str(path), map_location="cpu").state_dict())
    return read_file(path)


def _adapted(state: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Names and shapes of other versions and releases brought to this model's."""
    state = {key.removeprefix("module."): value for key, value in state.items()}
    state = {key: value for key, value in state.items() if key not in (*_NOT_WEIGHTS, _POSITION_IDS)}
    state = open_clip.factory.convert_state_dict(model, state)
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = open_clip.model.convert_to_custom_text_state_dict(state)
    if "logit_scale" in state:
        state["logit_scale"] = state["logit_scale"].reshape(model.logit_scale.shape)
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
