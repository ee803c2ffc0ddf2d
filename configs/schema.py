"""The schema of a resolved configuration: every section, every key, its type, default and help text."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, get_type_hints

from configs.help import field_help
from stages.catalog.spec import DataSpec
from stages.decode.spec import DecodeSpec, Geometry
from stages.discovery.baselines import (
    BlocksMethod,
    CentreBoxMethod,
    KMeansMethod,
    OneMethod,
    SpectralMethod,
)
from stages.discovery.dinosaur import DinosaurMethod
from stages.discovery.solv import SolvMethod
from stages.discovery.vol import VolMethod
from stages.errors import SettingsError
from stages.evaluation.spec import MetricsSpec
from stages.features.backbone_spec import BackboneSpec
from stages.features.views import ViewsSpec
from stages.labeling.spec import LabelSpec
from stages.labeling.sprites_clip_spec import SpritesClipSpec
from stages.learning.spec import TrainSpec
from stages.merging.tracks_stage import TracksSpec
from stages.pretraining.spec import PretrainSpec


def option(default: Any, text: str) -> Any:
    """A field with its help text."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class DataConfig(DataSpec):
    """Which videos. The root says where they are, and only that: it is in no fingerprint."""

    root: str = option("", "folder with the data")


@dataclass(frozen=True)
class DecodeConfig(DecodeSpec):
    """How videos become frames."""

    size: tuple[int, int] | int | Literal["auto", "native"] = option(
        "auto", "frame size: [height, width], short side, native, or auto for the backbone's own"
    )
    placement: Literal["fused", "remote"] = option(
        "fused", "fused: next to the model; remote: on CPU-only nodes of a Ray cluster (in no fingerprint)"
    )


@dataclass(frozen=True)
class FeaturesConfig:
    """What is stored of each frame."""

    encoding: Literal["fp16", "int8"] = option("fp16", "how values are stored; int8 halves the cache")


@dataclass(frozen=True)
class StoreConfig:
    """How new artifacts are laid out. Recorded with the artifact; in no fingerprint."""

    shard_videos: int = option(64, "most videos in one shard")
    shard_bytes: int = option(256 * 2**20, "size in bytes that a shard aims at")


@dataclass(frozen=True)
class RunConfig:
    """How it is run: speed and patience. In no fingerprint."""

    device: str = option("auto", "cpu, cuda or auto")
    threads: int = option(1, "torch threads of one worker; add workers instead")
    train_workers: int = option(1, "processes (or GPUs) that train one model together")
    decoders: int = option(1, "decoder processes that feed one process of a pre-training")
    checkpoint_s: float = option(60.0, "seconds between two checkpoints of a training")
    gpus: float = option(
        0.0, "GPUs per worker on Ray, possibly a fraction; its stages with models share them"
    )
    decode_workers: int = option(
        0, "decoders of decode.placement=remote; 0: one per CPU of the nodes without GPUs, or that decode"
    )
    nodes_s: float | None = option(
        None,
        "seconds to wait for nodes of an autoscaling cluster, which are asked for, before exit 5; default: "
        "$TUBEFLOW_NODES_S, which such a cluster sets, else 0",
    )
    timeout_s: float = option(60.0, "longest wait for a decoder's next sign of progress, in seconds")
    memory_mb: int = option(2048, "resident memory of one decoder, in MiB, above which it is stopped")
    attempts: int = option(2, "decoders that may fail on one video before it is rejected")
    recycle_videos: int = option(64, "videos after which a decoder process is replaced")
    log: Literal["text", "json"] = option("text", "what goes to standard error: text, or json for log lines")


@dataclass(frozen=True)
class MethodConfig:
    """Which method finds the objects; its options are the section of its name."""

    name: str = option(
        "solv", "solv, vol, dinosaur, or one that needs no training: kmeans, spectral, blocks, one, centre"
    )


@dataclass(frozen=True)
class FitConfig:
    """What a training in the recipe sees of the corpus."""

    videos: int = option(
        0, "train on a sample of so many videos, and compute their features first; 0: on all"
    )

    def __post_init__(self) -> None:
        if self.videos < 0:
            raise SettingsError(f"fit.videos={self.videos}: must be 0 (all) or more")


@dataclass(frozen=True)
class TubesConfig:
    """What is segmented, and exported."""

    only_annotated: bool = option(False, "segment only videos with ground truth")
    export: str = option("none", "also write the tubes as ytvis (YouTube-VIS JSON), coco or png (DAVIS)")
    export_masks: str = option("", "kind of masks to export; default named, else the method's own")
    export_unnamed: bool = option(True, "export tubes that no name fits too, as category 0")


@dataclass(frozen=True)
class Config:
    """A resolved configuration."""

    recipe: str = option("", "name of the recipe")
    store: str = option(
        "", "folder or URL (s3://bucket/x) for all results; default $TUBEFLOW_STORE, else ~/tubeflow"
    )
    keep: Literal["all", "results"] = option(
        "all", "all, or results: remove the features of a video once everything that reads them is done"
    )
    data: DataConfig = field(default_factory=DataConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    backbone: BackboneSpec = field(default_factory=BackboneSpec)
    views: ViewsSpec = field(default_factory=ViewsSpec)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    model: str = option(
        "",
        "artifact folder of a trained model, whose settings then hold; or kmeans, which needs no training",
    )
    method: MethodConfig = field(default_factory=MethodConfig)
    solv: SolvMethod = field(default_factory=SolvMethod)
    vol: VolMethod = field(default_factory=VolMethod)
    dinosaur: DinosaurMethod = field(default_factory=DinosaurMethod)
    kmeans: KMeansMethod = field(default_factory=KMeansMethod)
    spectral: SpectralMethod = field(default_factory=SpectralMethod)
    blocks: BlocksMethod = field(default_factory=BlocksMethod)
    one: OneMethod = field(default_factory=OneMethod)
    centre: CentreBoxMethod = field(default_factory=CentreBoxMethod)
    train: TrainSpec = field(default_factory=TrainSpec)
    pretrain: PretrainSpec = field(default_factory=PretrainSpec)
    fit: FitConfig = field(default_factory=FitConfig)
    tubes: TubesConfig = field(default_factory=TubesConfig)
    label: LabelSpec = field(default_factory=LabelSpec)
    tracks: TracksSpec = field(default_factory=TracksSpec)
    clip_sprites: SpritesClipSpec = field(default_factory=SpritesClipSpec)
    metrics: MetricsSpec = field(default_factory=MetricsSpec)
    layout: StoreConfig = field(default_factory=StoreConfig)
    run: RunConfig = field(default_factory=RunConfig)


def keys(cls: type = Config, prefix: str = "") -> dict[str, str]:
    """Every settable key by its dotted name, with its help text."""
    found: dict[str, str] = {}
    texts = field_help(cls)
    hints = get_type_hints(cls)
    for entry in dataclasses.fields(cls):
        name = prefix + entry.name
        kind = hints[entry.name]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            found |= keys(kind, name + ".")
        else:
            found[name] = texts.get(entry.name, "")
    return found


def geometry(config: Config) -> Geometry | None:
    """The frame size that ``config`` asks for; None for the backbone's own."""
    size = config.decode.size
    if size == "auto":
        return None
    return Geometry(None if size == "native" else size)
