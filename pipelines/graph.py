"""From a configuration to stages: the chain of map stages of a recipe, and the stages that take whole
artifacts.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

from cluster.chain import BoundStage, Chain
from configs.schema import Config
from pipelines.builders import BUILDERS, given_model, stage_names
from stages.artifacts.layout import Artifact, ShardLayout
from stages.artifacts.place import Place, place
from stages.errors import SettingsError
from stages.stage import FitStage, Limits, MapStage, Stage, WholeStage, WorkContext


@dataclass(frozen=True)
class BoundWhole:
    """A fit or reduce stage with the folder it fills and what it reads.

    Attributes:
        inputs: the artifacts of the map stages before it.
        wholes: the folders of the fit and reduce stages before it.
        after: how many map stages come before it; a fit has to wait for these, and later map stages for it.
    """

    stage: WholeStage
    folder: Place
    inputs: tuple[Artifact, ...]
    fingerprint: str
    wholes: tuple[Place, ...] = ()
    after: int = 0
    context: WorkContext = dataclasses.field(kw_only=True)

    @property
    def fit(self) -> bool:
        """Whether it is a training, which map stages may wait for."""
        return isinstance(self.stage, FitStage)

    @property
    def streams(self) -> bool:
        """Whether it has to wait for the map stages before it."""
        return not isinstance(self.stage, FitStage) or self.stage.reads_data

    @property
    def sample(self) -> int:
        """How many videos of the corpus it learns from; 0: all."""
        return self.stage.sample if isinstance(self.stage, FitStage) else 0


@dataclass(frozen=True)
class Graph:
    """A recipe made concrete: map stages in streaming order, and whole stages in order."""

    config: Config
    store: Place
    chain: Chain
    fingerprints: tuple[str, ...]
    whole: tuple[BoundWhole, ...]

    @property
    def layout(self) -> ShardLayout:
        """The layout that new artifacts of this run get."""
        return ShardLayout(self.config.layout.shard_videos, self.config.layout.shard_bytes)


def store_folder(config: Config) -> Place:
    """The store's folder or URL: the setting, else ``$TUBEFLOW_STORE``, else ``~/tubeflow``."""
    store = config.store or os.environ.get("TUBEFLOW_STORE", "") or "~/tubeflow"
    if "://" in store:
        return _url(store)
    folder = Path(store).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"store={store} is a file: name a folder")
    return folder


def _url(store: str) -> Place:
    protocol, _, rest = store.partition("://")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    if at and ":" in user:  # addresses are printed and recorded
        raise SettingsError(
            f"store={protocol}://...: the address holds a password; leave it out and put credentials where "
            "docs/object_stores.md names the usual places"
        )
    try:
        return place(store)
    except (ImportError, ValueError) as error:
        raise SettingsError(
            f"store={store}: there is no file system for {protocol} ({error}); install one, or give a folder "
            "or a URL such as s3://bucket/folder"
        ) from error


def build(config: Config, limit: int | None = None) -> Graph:
    """Bind every stage of the configuration's recipe to its artifact.

    Args:
        limit: the run's ``--limit``: a model trained on the first few videos is not that of all of them.

    Raises:
        SettingsError: if the data's root is missing where a stage reads data, or a relative path is used
            inside a Ray job.
    """
    binder = _Binder(config, limit)
    for name in stage_names(config):
        binder.bind(BUILDERS[name](config))
    return Graph(config, binder.store, tuple(binder.chain), tuple(binder.fingerprints), tuple(binder.whole))


class _Binder:
    """Stages bound one after the other, each to what the ones before it leave behind."""

    def __init__(self, config: Config, limit: int | None) -> None:
        self._limit = limit
        self.store = store_folder(config)
        self.chain: list[BoundStage] = []
        self.fingerprints: list[str] = []
        self.whole: list[BoundWhole] = []
        self._models: dict[str, str] = {}
        self._folders: dict[str, str] = {}
        run = config.run
        self._context = WorkContext(
            data_root=_checked_root(config) if "catalog" in stage_names(config) else "",
            scratch=self.store,
            device=run.device,
            threads=run.threads,
            limits=Limits(run.timeout_s, run.memory_mb, run.attempts, run.recycle_videos),
            checkpoint_s=run.checkpoint_s,
            decoders=run.decoders,
            log=run.log,
        )
        given = given_model(config)
        if given is not None:
            self._models["model"] = given.fingerprint
            self._folders["model"] = str(given.folder)

    def bind(self, stage: Stage) -> None:
        """Give ``stage`` its folder, its inputs and its context."""
        if isinstance(stage, MapStage):
            read = [self._models[kind] for kind in stage.reads if kind in self._models]
            inputs = self.fingerprints[-1:] + read
        elif isinstance(stage, FitStage):
            narrowed = [] if self._limit is None else [f"limit {self._limit}"]
            inputs = self.fingerprints[-1:] + narrowed if stage.reads_data else []
        else:
            inputs = self.fingerprints + [w.fingerprint for w in self.whole]
        fingerprint = stage.fingerprint(inputs)
        folder = self.store / stage.kind / f"{stage.name}-{fingerprint[:8]}"
        context = dataclasses.replace(self._context, inputs=dict(self._folders))
        if isinstance(stage, MapStage):
            self.chain.append(BoundStage(stage, Artifact(folder, stage.kind, stage.suffix), context))
            self.fingerprints.append(fingerprint)
        elif isinstance(stage, WholeStage):
            alone = isinstance(stage, FitStage) and not stage.reads_data
            artifacts = () if alone else tuple(bound.artifact for bound in self.chain)
            wholes = () if alone else tuple(bound.folder for bound in self.whole)
            bound = BoundWhole(
                stage, folder, artifacts, fingerprint, wholes, len(self.chain), context=context
            )
            self.whole.append(bound)
            if bound.fit:
                self._models[stage.kind] = fingerprint
        self._folders[stage.kind] = str(folder)


def _checked_root(config: Config) -> str:
    root = config.data.root
    if not root:
        raise SettingsError("no data: name its folder with --set data.root=FOLDER")
    if inside_ray_job():
        for key, value in (("data.root", root), ("store", config.store), ("model", config.model)):
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
