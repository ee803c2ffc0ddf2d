"""Which CLIP names what is found, and with which weights. Imports neither torch nor open_clip."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from stages.artifacts import scratch, whole
from stages.artifacts.place import Url, place
from stages.errors import SettingsError
from stages.features.backbone_spec import file_digest

CONFIG_NAME = "open_clip_config.json"
"""What open_clip calls the configuration in the folder of a model."""
WEIGHTS_NAME = "open_clip_model.safetensors"
"""What open_clip calls the weights in the folder of a model."""


@dataclass(frozen=True)
class ClipSpec:
    """A CLIP model and its weights; a config section called ``label``.

    Attributes:
        model: a name that open_clip lists (``ViT-B-16``), the path of a ``.json`` with a model configuration
            (open_clip's ``model_cfg``, alone or beside ``preprocess_cfg``), or a folder in open_clip's layout
            (`CONFIG_NAME`, `WEIGHTS_NAME`, tokenizer files), such as the one that `sprites_clip` writes.
        weights: ``hub`` (the release named by ``pretrained``; for a folder: the file in it), ``random``
            (drawn from ``seed``; names mean nothing), or the path of a .safetensors, .pt or .pth file.
        pretrained: open_clip's tag of a release. Also with weights from a file it says which activation and
            which channel statistics they were trained with. Means nothing for a configuration of one's own.
        revision: branch, tag or commit of the hub repository.
        seed: of random weights.

    Raises:
        SettingsError: an empty field, a model that open_clip does not know, a path that does not exist.
    """

    model: str = "ViT-B-16"
    weights: str = "hub"
    pretrained: str = "openai"
    revision: str = "main"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("model", "weights", "revision"):
            if not getattr(self, name).strip():
                raise SettingsError(f"label.{name} is empty: leave it out, or give a value")
        if self.seed < 0:
            raise SettingsError(f"label.seed={self.seed}: at least 0 is needed")
        self.config()
        if self.weights == "hub" and self.is_own and not self.folder.is_dir():
            raise SettingsError(
                f"label.weights=hub: nothing is released for the configuration {self.model}; give a file "
                "with --set label.weights=PATH, or random"
            )
        self.weights_file()

    @property
    def is_own(self) -> bool:
        """Whether the model is a configuration on disk instead of one of open_clip's names."""
        return self.config_path().parent != _config_folder()

    @property
    def folder(self) -> Path:
        """`model` as a path; for the artifact of the recipe ``clip_sprites`` the folder of its files."""
        path = place(self.model).expanduser()
        if isinstance(path, Url) or path.is_dir():
            return whole.files(path) or scratch.mirror(path)
        return path

    def config_path(self) -> Path:
        """The JSON file that describes the model.

        Raises:
            SettingsError: there is none.
        """
        path = self.folder
        if path.is_dir():
            return _existing(
                path / CONFIG_NAME, f"label.model={self.model} is a folder without {CONFIG_NAME}"
            )
        if self.model.endswith(".json"):
            return _existing(path, f"label.model={self.model}: there is no such file")
        known = _config_folder() / f"{self.model}.json"
        if not known.is_file():
            near = difflib.get_close_matches(self.model, known_models(), 3, 0.3)
            raise SettingsError(
                f"label.model={self.model!r} is neither a model of open_clip (near it: {', '.join(near)}) "
                "nor a .json file nor a folder"
            )
        return known

    def config(self) -> dict[str, Any]:
        """The model's configuration: ``embed_dim``, ``vision_cfg``, ``text_cfg`` and more.

        Raises:
            SettingsError: the file can't be read or lacks one of these three.
        """
        content = _json(self.config_path())
        config = content.get("model_cfg", content)
        if missing := [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config]:
            raise SettingsError(
                f"{self.config_path()} is no open_clip model configuration: {', '.join(missing)} is missing"
            )
        return dict(config)

    def weights_file(self) -> Path | None:
        """The file on this machine that holds the weights; None for ``random`` and for what the hub has.

        Raises:
            SettingsError: the file does not exist.
        """
        if self.weights == "random" or (self.weights == "hub" and not self.folder.is_dir()):
            return None
        path = self.folder / WEIGHTS_NAME if self.weights == "hub" else Path(self.weights).expanduser()
        return _existing(path, f"label.weights={self.weights}: {path} does not exist")

    def weights_identity(self) -> str:
        """``sha256:<digest>`` of a file, ``random:<seed>``, or ``hub:<model>/<tag>@<revision>``."""
        if (path := self.weights_file()) is not None:
            return "sha256:" + file_digest(str(path))
        if self.weights == "random":
            return f"random:{self.seed}"
        return f"hub:{self.model}/{self.pretrained}@{self.revision}"

    def identity(self) -> dict[str, str]:
        """What decides the features: digest of the configuration, weights, and tag (of open_clip's names).

        A configuration or file that moves keeps its identity.
        """
        text = json.dumps(_json(self.config_path()), sort_keys=True)
        return {
            "model": hashlib.sha256(text.encode()).hexdigest(),
            "weights": self.weights_identity(),
            "pretrained": "" if self.is_own else self.pretrained,
        }

    def warning(self) -> str | None:
        """What a user must be told about these weights, as one sentence; None where there is nothing."""
        if self.weights != "random":
            return None
        return (
            f"THE NAMES MEAN NOTHING: label.weights=random draws the weights of {self.model} by lot; give "
            "the path of a trained model with --set label.weights=PATH, or hub"
        )

    def check_patches(self) -> None:
        """Refuse models without patch features, before anything is loaded.

        Raises:
            SettingsError: the image tower is no VisionTransformer of open_clip with a pooled token.
        """
        vision = self.config()["vision_cfg"]
        if vision.get("timm_model_name") or isinstance(vision.get("layers"), list):
            raise no_patches(self.model, "its image tower is not open_clip's VisionTransformer")
        if vision.get("attentional_pool") or vision.get("pool_type") == "none":
            raise no_patches(self.model, "its image tower pools its patches by attention")


def no_patches(model: str, why: str) -> SettingsError:
    """The error for a CLIP that has no patch features."""
    return SettingsError(
        f"label.model={model} has no patch features, since {why}: name crops instead, which works with every "
        "model, or choose one such as ViT-B-16"
    )


def known_models() -> tuple[str, ...]:
    """Names of the models whose configurations come with open_clip."""
    return tuple(sorted(path.stem for path in _config_folder().glob("*.json")))


@lru_cache(maxsize=1)
def _config_folder() -> Path:
    # Found without importing open_clip, which would bring torch with it.
    found = importlib.util.find_spec("open_clip")
    if found is None or not found.submodule_search_locations:
        raise SettingsError("open_clip is not installed: run pip install open_clip_torch")
    return Path(found.submodule_search_locations[0]) / "model_configs"


def _existing(path: Path, otherwise: str) -> Path:
    if not path.is_file():
        raise SettingsError(f"{otherwise}: check the path")
    return path


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{path} can't be read as JSON ({error}): give an open_clip configuration"
        ) from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds no JSON object: give an open_clip configuration")
    return content
