"""Methods without training: the trivial rows beside every score, and clustering of features. Imports no
torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from stages.discovery.contract import Method
from stages.errors import SettingsError

if TYPE_CHECKING:
    from stages.discovery.contract import Implementation
    from stages.features.store.samplers import WholeVideo


@dataclass(frozen=True)
class TrainingFree(Method):
    """What methods without fits have in common."""

    protocol: ClassVar[str] = "miou@solv"

    @property
    def mask_kinds(self) -> tuple[str, ...]:
        """See `Method.mask_kinds`."""
        return ("cluster",)

    def fits(self) -> tuple[str, ...]:
        """None."""
        return ()

    def clips(self, fit: str) -> WholeVideo:
        """Never asked for."""
        raise ValueError(f"method {self.name} has no training {fit!r}")

    def implement(self) -> Implementation:
        """See `Method.implement`."""
        from stages.discovery.clustering import Clustering

        return Clustering(self)


@dataclass(frozen=True)
class OneMethod(TrainingFree):
    """One segment that covers every frame."""

    name: ClassVar[str] = "one"


@dataclass(frozen=True)
class CentreBoxMethod(TrainingFree):
    """A box in the middle of every frame, and the rest."""

    name: ClassVar[str] = "centre"

    share: float = 0.5
    """Height and width of the box, as a share of the frame's."""


@dataclass(frozen=True)
class BlocksMethod(TrainingFree):
    """Rectangles of equal size that never move: what positions alone give."""

    name: ClassVar[str] = "blocks"

    clusters: int = 8
    """How many rectangles: in bands of equal height, each cut so that cells are nearly square."""

    def __post_init__(self) -> None:
        _positive(self.name, self.clusters)


@dataclass(frozen=True)
class KMeansMethod(TrainingFree):
    """k-means on the patch tokens of a whole video at once, so that clusters are tubes."""

    name: ClassVar[str] = "kmeans"

    facet: str = "tokens"
    """Which features are clustered."""
    clusters: int = 8
    """k."""
    cosine: bool = False
    """Tokens are scaled to length 1 first, so that angles count."""
    position: float = 0.0
    """Weight of the patch coordinates, in [-1, 1], added as two channels."""
    sample: int = 20_000
    """Most tokens of a video that the centres are fitted on; all are assigned."""
    seed: int = 0
    """Of the starts, and of the sample."""

    def __post_init__(self) -> None:
        _positive(self.name, self.clusters)

    @property
    def facets(self) -> tuple[str, ...]:
        """See `Method.facets`."""
        return (self.facet,)


@dataclass(frozen=True)
class SpectralMethod(TrainingFree):
    """Spectral clustering of every frame's tokens, clusters linked from frame to frame (methods sheet 6.4).

    The published row uses the true number of objects: as a trivial row of other methods' scores it is given
    (`knowing`); run by itself, it makes ``clusters``.
    """

    name: ClassVar[str] = "spectral"

    facet: str = "tokens"
    """Which features are clustered."""
    clusters: int = 8
    """Clusters of a frame where no true count is given."""
    background: bool = True
    """One cluster more than there are objects."""
    seed: int = 0
    """Of the assignment of labels."""
    count: int = 0
    """The true number of objects of the video; 0: unknown."""

    def __post_init__(self) -> None:
        _positive(self.name, self.clusters)

    def knowing(self, objects: int) -> SpectralMethod:
        """With as many clusters as objects, plus the background."""
        return replace(self, count=objects)

    @property
    def facets(self) -> tuple[str, ...]:
        """See `Method.facets`."""
        return (self.facet,)


def _positive(name: str, clusters: int) -> None:
    if clusters < 1:
        raise SettingsError(f"{name}.clusters={clusters}: must be at least 1")
