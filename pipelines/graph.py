"""From a configuration to stages: the chain of map stages of a recipe, and the stages after it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.chain import BoundStage, Chain
from configs.compose import recipe
from configs.schema import Config, geometry
from stages.artifacts.layout import Artifact, ShardLayout
from stages.catalog.spec import DataSpec
from stages.catalog.stage import CatalogStage
from stages.decode.spec import DecodeSpec
from stages.errors import SettingsError
from stages.features.stage import FeaturesStage
from stages.report.summary import SummaryStage
from stages.stage import Limits, MapStage, Stage, WholeStage, WorkContext


@dataclass(frozen=True)
class BoundWhole:
    """A fit or reduce stage with the folder it fills and the artifacts it reads."""

    stage: WholeStage
    folder: Path
    inputs: tuple[Artifact, ...]
    fingerprint: str


@dataclass(frozen=True)
class Graph:
    """A recipe made concrete: map stages in streaming order, then whole stages in order."""

    config: Config
    store: Path
    chain: Chain
    fingerprints: tuple[str, ...]
    whole: tuple[BoundWhole, ...]

    @property
    def layout(self) -> ShardLayout:
        """The layout that new artifacts of this run get."""
        return ShardLayout(self.config.layout.shard_videos, self.config.layout.shard_bytes)


def _plain(config: object, cls: type) -> object:
    """The part of a config section that is the stage's own spec."""
    return cls(**{f.name: getattr(config, f.name) for f in dataclasses.fields(cls)})


def catalog_stage(config: Config) -> CatalogStage:
    """The catalog of ``config.data``; its name defaults to the folder's."""
    spec = _plain(config.data, DataSpec)
    assert isinstance(spec, DataSpec)
    return CatalogStage(dataclasses.replace(spec, name=data_name(config)))


def data_name(config: Config) -> str:
    """``data.name``, else the name of the data's folder."""
    return config.data.name or Path(config.data.root).absolute().name


def features_stage(config: Config) -> FeaturesStage:
    """The features that ``config`` asks for."""
    decode = _plain(config.decode, DecodeSpec)
    assert isinstance(decode, DecodeSpec)
    return FeaturesStage(
        backbone=config.backbone,
        decode=decode,
        geometry=geometry(config),
        views=config.views,
        encoding=config.features.encoding,
    )


_BUILDERS: dict[str, Callable[[Config], Stage]] = {
    "catalog": catalog_stage,
    "features": features_stage,
    "summary": lambda _: SummaryStage(),
}


def store_folder(config: Config) -> Path:
    """The store's folder: the setting, else ``$TUBEFLOW_STORE``, else ``~/tubeflow``."""
    store = config.store or os.environ.get("TUBEFLOW_STORE", "") or "~/tubeflow"
    if "://" in store:
        raise SettingsError(f"store={store}: results are written to folders; object stores can only be read")
    folder = Path(store).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"store={store} is a file: name a folder")
    return folder


def build(config: Config) -> Graph:
    """Bind every stage of the configuration's recipe to its artifact.

    Raises:
        SettingsError: if the data's root is missing, or a relative path is used inside a Ray job.
    """
    root = _checked_root(config)
    store = store_folder(config)
    context = WorkContext(
        data_root=root,
        scratch=store,
        device=config.run.device,
        threads=config.run.threads,
        limits=Limits(
            config.run.timeout_s, config.run.memory_mb, config.run.attempts, config.run.recycle_videos
        ),
    )
    chain: list[BoundStage] = []
    fingerprints: list[str] = []
    whole: list[BoundWhole] = []
    for name in recipe(config.recipe).stages:
        stage = _BUILDERS[name](config)
        inputs = fingerprints[-1:] if isinstance(stage, MapStage) else fingerprints
        fingerprint = stage.fingerprint(inputs)
        folder = store / stage.kind / f"{stage.name}-{fingerprint[:8]}"
        if isinstance(stage, MapStage):
            chain.append(BoundStage(stage, Artifact(folder, stage.kind, stage.suffix), context))
            fingerprints.append(fingerprint)
        elif isinstance(stage, WholeStage):
            whole.append(BoundWhole(stage, folder, tuple(b.artifact for b in chain), fingerprint))
    return Graph(config, store, tuple(chain), tuple(fingerprints), tuple(whole))


def _checked_root(config: Config) -> str:
    root = config.data.root
    if not root:
        raise SettingsError("no data: name its folder with --set data.root=FOLDER")
    if inside_ray_job():
        for key, value in (("data.root", root), ("store", config.store)):
            if value and "://" not in value and not Path(value).is_absolute():
                raise SettingsError(
                    f"{key}={value} is relative, and inside a Ray job that is a temporary copy: "
                    "give the absolute path that every node sees"
                )
    return str(Path(root).absolute())


def inside_ray_job() -> bool:
    """Whether this driver was started by ``ray job submit``."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def describe_stage(graph: Graph, level: int) -> dict[str, object]:
    """The content of ``stage.json`` for a map stage of the graph."""
    stage = graph.chain[level].stage
    return {
        "kind": stage.kind,
        "name": stage.name,
        "fingerprint": graph.fingerprints[level],
        "identity": stage.identity(),
        "inputs": [b.artifact.root.name for b in graph.chain[max(0, level - 1) : level]],
    }
