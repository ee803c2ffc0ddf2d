"""The stages that recipes name, each made from a configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs.compose import recipe, to_dict
from configs.models import GivenModel, read_model
from configs.schema import Config, geometry
from pipelines.reasons import differences, flatten
from stages.catalog.classes import class_names
from stages.catalog.spec import DataSpec
from stages.catalog.stage import CatalogStage
from stages.decode.spec import DecodeSpec
from stages.discovery.contract import Method
from stages.discovery.registry import METHODS
from stages.discovery.train_stage import TrainStage
from stages.discovery.tubes_stage import TubesStage
from stages.errors import SettingsError
from stages.evaluation.metrics_stage import MetricsStage
from stages.evaluation.scores_stage import ScoresStage
from stages.evaluation.spec import MetricsSpec
from stages.features.backbones.table import CLIP
from stages.features.stage import FeaturesStage
from stages.features.views import BASE, FLIP
from stages.labeling.branch_method import PatchClipMethod
from stages.labeling.branch_stage import BranchStage
from stages.labeling.clip_backbone_spec import ClipBackboneSpec
from stages.labeling.clip_spec import ClipSpec
from stages.labeling.clip_stage import ClipStage
from stages.labeling.embeddings_stage import EmbeddingsStage
from stages.labeling.named_stage import NamedStage
from stages.labeling.vocabulary import CLASSES, read_vocabulary
from stages.merging.tracks_stage import TracksStage
from stages.pretraining.pretrain_stage import PretrainStage
from stages.report.report_stage import ReportStage
from stages.report.summary import SummaryStage
from stages.stage import Stage
from stages.tubes.export_stage import ExportStage


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
    backbone = config.backbone
    if backbone.name == CLIP:
        backbone = ClipBackboneSpec.of(backbone, config.label.clip_spec)
    return FeaturesStage(
        backbone=backbone,
        decode=decode,
        geometry=geometry(config),
        views=config.views,
        encoding=config.features.encoding,
    )


def method_of(config: Config) -> Method:
    """The method that ``config`` names, with its options.

    Raises:
        SettingsError: it reads facets or views that the features do not have.
    """
    name = config.method.name
    if name not in METHODS:
        raise SettingsError(f"method.name={name}: there is no such method; there are {', '.join(METHODS)}")
    method: Method = getattr(config, name)
    _check_facets(config, method)
    if method.fits() and not config.model:
        method.check(config.backbone, config.views)
    return method


def _check_facets(config: Config, method: Method) -> None:
    resolved = config.backbone.resolved()
    for facet in method.facets:
        if facet not in resolved.facets:
            raise SettingsError(
                f"method {method.name} reads the facet {facet}: add it with --set backbone.facets="
                f"[{','.join((*resolved.facets, facet))}]"
            )


def train_stage(config: Config) -> TrainStage:
    """The training of the configured method."""
    method = method_of(config)
    backbone = config.backbone if method.wants_encoder else None
    return TrainStage(method, config.train, backbone, config.fit.videos)


def pretrain_stage(config: Config) -> PretrainStage:
    """The pre-training of the video transformer."""
    decode = _plain(config.decode, DecodeSpec)
    assert isinstance(decode, DecodeSpec)
    return PretrainStage(config.pretrain, config.train, decode)


def branch_stage(config: Config) -> BranchStage:
    """The adaptation of patch-CLIP, on crops where there are some, else on plain (and mirrored) frames.

    Raises:
        SettingsError: the features are not those of CLIP's tower.
    """
    if config.backbone.name != CLIP:
        raise SettingsError(
            f"backbone.name={config.backbone.name}: patches of CLIP are adapted on its own features: leave "
            f"it at {CLIP}"
        )
    whole = (BASE, FLIP) if config.views.flip else (BASE,)
    method = PatchClipMethod(config.label.clip_spec, config.views.cropped() or whole)
    _check_facets(config, method)
    return BranchStage(method, config.train, videos=config.fit.videos)


def tubes_stage(config: Config) -> TubesStage:
    """Segmentation by the configured method."""
    method = method_of(config)
    if method.fits() and config.recipe == "segment" and not config.model:
        raise SettingsError(
            f"method {method.name} needs a trained model: --set model=ARTIFACT (the folder that its training "
            "printed), or --set method.name=kmeans, which needs none"
        )
    return TubesStage(method, config.tubes.only_annotated)


def embeddings_stage(config: Config) -> EmbeddingsStage:
    """What CLIP sees of the tubes.

    Raises:
        SettingsError: patches of an adapted CLIP are wanted, and there is none.
    """
    label, trained = config.label, recipe(config.recipe).stages
    if label.by == "patches" and not label.branch and "branch" not in trained:
        raise SettingsError(
            "label.by=patches needs an adapted branch: --set label.branch=ARTIFACT (the folder that the "
            "recipe adapt_patch_clip printed), or --set label.by=vanilla or crops, which need none"
        )
    return EmbeddingsStage(
        clip=_clip(config),
        by=label.by,
        branch=label.branch,
        size=label.size,
        margin=label.margin,
        step=label.step,
        imagenet_norm=label.imagenet_norm,
        decode=features_stage(config).decode,
    )


def _clip(config: Config) -> ClipSpec | None:
    """The CLIP that names; None where the recipe trains it."""
    return None if "clip" in recipe(config.recipe).stages else config.label.clip_spec


def named_stage(config: Config) -> NamedStage:
    """Naming with the configured vocabulary.

    Raises:
        SettingsError: there is none, or it can't be read; or clips of naming are others than the method's.
    """
    label, method = config.label, method_of(config)
    if label.clip and method.clip_frames not in (1, label.clip):
        raise SettingsError(
            f"label.clip={label.clip}: the clips of method {method.name} have {method.clip_frames} frames; "
            "give the same number, or 0 to merge over the whole video"
        )
    if not label.vocabulary:
        raise SettingsError(
            "label.vocabulary is empty: name what to look for, --set label.vocabulary=people,dogs,cars, or a "
            ".txt file with one name a line"
        )
    classes = class_names(config.data.kind) if label.vocabulary == CLASSES else None
    return NamedStage(
        vocabulary=read_vocabulary(label.vocabulary, label.background, classes),
        clip=_clip(config),
        prompt=label.prompt,
        threshold=label.threshold,
        merge=label.merge,
        adjacency=label.adjacency,
        frames=label.clip,
        keep_one=label.keep_one,
    )


def scores_stage(config: Config) -> ScoresStage:
    """Scores against the ground truth, with the trivial rows."""
    spec = _plain(config.metrics, MetricsSpec)
    assert isinstance(spec, MetricsSpec)
    baselines = tuple(getattr(config, name) for name in spec.baselines)
    for baseline in baselines:
        if baseline.fits():
            raise SettingsError(
                f"metrics.baselines: {baseline.name} has to be trained; trivial rows need no training"
            )
        _check_facets(config, baseline)
    return ScoresStage(spec, baselines)


def metrics_stage(config: Config) -> MetricsStage:
    """Tables of all scores."""
    return MetricsStage(config.metrics.protocols, method_of(config).protocol)


BUILDERS: dict[str, Callable[[Config], Stage]] = {
    "catalog": catalog_stage,
    "features": features_stage,
    "model": train_stage,
    "videomae": pretrain_stage,
    "clip": lambda config: ClipStage(config.clip_sprites),
    "branch": branch_stage,
    "tubes": tubes_stage,
    "embeddings": embeddings_stage,
    "named": named_stage,
    "scores": scores_stage,
    "metrics": metrics_stage,
    "tracks": lambda config: TracksStage(config.tracks.link_threshold),
    "summary": lambda _: SummaryStage(),
    "report": lambda _: ReportStage(),
    "export": lambda config: ExportStage(
        config.tubes.export, config.tubes.export_masks, config.tubes.export_unnamed
    ),
}


def stage_names(config: Config) -> list[str]:
    """The stages of the recipe, and the export if one is asked for.

    A training is left out where its result is given or its method needs none.
    """
    names = list(recipe(config.recipe).stages)
    if "model" in names and (config.model or not method_of(config).fits()):
        names.remove("model")
    if config.tubes.export != "none" and "tubes" in names:
        names.append("export")
    return names


def given_model(config: Config) -> GivenModel | None:
    """The trained model that ``config.model`` names, if it names one.

    Raises:
        SettingsError: there is none, or it was trained on other features than those of ``config``.
    """
    if not config.model:
        return None
    model = read_model(config.model)
    _check_method(config, model)
    mine = _seen(features_stage(config).identity())
    changes = differences(_seen(model.features), mine)
    if changes:
        raise SettingsError(
            f"model={config.model} was trained on other features ({', '.join(changes[:4])}): leave these "
            f"settings "
            "to the model, or train it on the features that you want"
        )
    return model


def _check_method(config: Config, model: GivenModel) -> None:
    name, theirs = config.method.name, model.settings["method"]["name"]
    if name != theirs:
        raise SettingsError(
            f"model={config.model} is one of method {theirs}: leave method.name={name} to it, "
            "or leave model out"
        )
    mine = to_dict(config)[name]
    free = METHODS[name].after_training
    changes = [
        f"{name}.{key}={mine[key]} instead of {value}"
        for key, value in model.settings[name].items()
        if key in mine and key not in free and mine[key] != value
    ]
    if changes:
        raise SettingsError(
            f"model={config.model} was trained with other options ({', '.join(changes[:4])}): leave these "
            "settings to the model, or train it with the ones that you want"
        )


def _seen(identity: dict[str, Any]) -> dict[str, Any]:
    """What of a features stage's identity a model depends on: backbone, weights, size of frames."""
    fields = identity["fields"]
    return flatten({k: fields[k] for k in ("backbone", "geometry")} | {"weights": identity["weights"]})
