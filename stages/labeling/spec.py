"""The config section ``label``: which CLIP names tubes, what it looks at, and which names there are.

Imports neither torch nor open_clip.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from stages.errors import SettingsError
from stages.labeling.clip_spec import ClipSpec

By = Literal["crops", "patches", "vanilla"]


@dataclass(frozen=True)
class LabelSpec(ClipSpec):
    """How tubes are named (VOL; methods sheet 1.5, steps 5 to 9, 6.6 and 6.7).

    Raises:
        SettingsError: a value that can't be; or patches are wanted of a model that has none.
    """

    by: By = "crops"
    """What CLIP looks at: ``crops`` around each mask; ``patches`` of an adapted CLIP (``label.branch``), seen
    once per frame for all masks; ``vanilla``: patches of CLIP as it is."""
    branch: str = ""
    """Artifact folder of an adapted patch branch (recipe adapt_patch_clip), for ``by=patches``."""
    size: int = 0
    """Short side in pixels of the frames whose patches are seen; 0: the model's own."""
    margin: float = 0.0
    """Context around a crop at each side, as a share of its box."""
    step: int = 1
    """Of the stored frames every so many-th is looked at, beginning with the first."""
    imagenet_norm: bool = False
    """Patches see frames with ImageNet's channel statistics, as released (a mistake)."""
    vocabulary: str = ""
    """Names to look for: a comma list, a .txt file with one a line, or ``classes`` for the data set's own."""
    background: str = "stuff"
    """Names that are no object: ``stuff`` (86 of COCO-stuff), ``none``, a comma list or a .txt file."""
    prompt: Literal["code", "paper"] = "code"
    """``code``: "a photo of NAME", as released; ``paper``: with an article, underscores as spaces."""
    threshold: float = 0.0
    """Cosine that the best name has to exceed (the paper's lambda); a tube that no name fits is unnamed."""
    merge: bool = True
    """Tubes that touch and have the same name become one."""
    adjacency: Literal["spatiotemporal", "spatial"] = "spatiotemporal"
    """Which tubes touch: patches of the same or of neighbouring frames (released code), or of one frame
    (paper)."""
    clip: int = 0
    """Frames of a clip: tubes of different clips never touch, as published (8). 0: the video is one clip."""
    keep_one: bool = False
    """Where no tube of a clip fits a name, the best one gets its best name all the same (released code)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.margin >= 0:
            raise SettingsError(f"label.margin={self.margin}: give a share of the box, 0 or more")
        for name, least in (("step", 1), ("clip", 0), ("size", 0)):
            if getattr(self, name) < least:
                raise SettingsError(f"label.{name}={getattr(self, name)}: at least {least} is needed")
        if self.by != "crops":
            self.check_patches()

    @property
    def clip_spec(self) -> ClipSpec:
        """The model alone."""
        return ClipSpec(**{field.name: getattr(self, field.name) for field in fields(ClipSpec)})
