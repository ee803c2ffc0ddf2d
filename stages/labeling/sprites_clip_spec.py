"""The config section ``clip_sprites``: how the small CLIP that knows sprites is trained. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from stages.errors import SettingsError
from stages.sprites.spec import LEVELS


@dataclass(frozen=True)
class SpritesClipSpec:
    """How the model is trained.

    Raises:
        SettingsError: a number below its least.
    """

    clips: int = 2000
    """Sprites clips rendered to train on; an eighth more of them are held out."""
    steps: int = 2000
    """Training steps; the rate rises over the first twentieth and then falls along a half cosine."""
    rate: float = 3e-3
    """AdamW's peak rate."""
    rounds: int = 1
    """Crops of every colour and shape in a batch, which has 86 of them per round."""
    levels: tuple[str, ...] = ("L0", "L2")
    """Difficulty levels of the clips, in equal shares."""
    seed: int = 0
    """Of clips, weights and batches."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))
        for name, least in (("clips", 8), ("steps", 1), ("rounds", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise SettingsError(f"clip_sprites.{name}={getattr(self, name)}: at least {least} is needed")
        if not self.levels or set(self.levels) - set(LEVELS):
            raise SettingsError(
                f"clip_sprites.levels={','.join(self.levels)}: name some of {', '.join(LEVELS)}"
            )
        if not self.rate > 0:
            raise SettingsError(f"clip_sprites.rate={self.rate}: must be above 0")
