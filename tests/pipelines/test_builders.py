"""Stages made from configurations, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.compose import compose, recipes
from configs.schema import Config
from pipelines import builders
from pipelines.builders import BUILDERS, given_model, method_of, stage_names
from stages.errors import SettingsError
from stages.stage import FitStage, MapStage, ReduceStage
from tests.measured import Measured


def config(name: str, *changes: str) -> Config:
    return compose(name, assignments=["data.root=/some/videos", *changes])


@pytest.mark.parametrize("recipe", [r.name for r in recipes()])
def test_every_recipe_can_be_built(recipe: str) -> None:
    """Kinds are those of the names; trainings and tables come after what they read."""
    crops = ["label.by=crops"]  # else a branch is needed
    needed = {"segment": ["method.name=kmeans"], "label_corpus": ["label.vocabulary=cat"]}
    needed |= {"vol_ytvis": crops, "vol_imagenet_vid": crops}
    made = config(recipe, *needed.get(recipe, []))
    names = stage_names(made)
    stages = [BUILDERS[name](made) for name in names]
    assert [stage.kind for stage in stages] == names
    assert names[0] == "catalog" or names == ["clip"]
    reduces = [isinstance(stage, ReduceStage) for stage in stages]
    assert reduces == sorted(reduces), "tables and pages come last"
    for place, stage in enumerate(stages):
        if isinstance(stage, FitStage):
            assert not [s for s in stages[:place] if isinstance(s, MapStage) and stage.kind in s.reads]


def test_an_export_comes_last_and_only_where_there_are_tubes() -> None:
    assert stage_names(config("solv_davis", "tubes.export=png"))[-1] == "export"
    assert "export" not in stage_names(config("solv_davis"))
    assert "export" not in stage_names(config("features", "tubes.export=png"))


def test_data_are_called_like_their_folder_unless_named() -> None:
    assert builders.data_name(config("features")) == "videos"
    assert builders.data_name(config("features", "data.name=clips")) == "clips"
    moved = compose("features", assignments=["data.root=/elsewhere/videos"])
    one, other = builders.catalog_stage(config("features")), builders.catalog_stage(moved)
    assert one.fingerprint() == other.fingerprint()
    assert one.fingerprint() != builders.catalog_stage(config("features", "data.name=clips")).fingerprint()


def test_settings_reach_their_stage() -> None:
    changes = ("solv.slots=5", "train.seed=3", "decode.size=[28,42]", "features.encoding=int8")
    made = config("solv_davis", *changes)
    features = builders.features_stage(made)
    assert (features.encoding, features.decode.crop) == ("int8", "borders")
    assert features.geometry is not None
    assert features.geometry.size == (28, 42)
    train = builders.train_stage(made)
    assert (train.method, train.train.seed) == (made.solv, 3)
    assert made.solv.slots == 5
    scores = builders.scores_stage(made)
    assert [method.name for method in scores.baselines] == list(made.metrics.baselines)
    metrics = builders.metrics_stage(made)
    assert (metrics.protocols, metrics.primary) == (made.metrics.protocols, "miou@solv")


def test_an_unknown_method_is_named_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError, match="there is no such method; there are solv, vol, dinosaur, kmeans"):
        method_of(config("solv_davis", "method.name=slots"))


def test_a_facet_that_is_not_stored_is_named_with_the_remedy() -> None:
    kmeans = ("method.name=kmeans", "kmeans.facet=rgb")
    with pytest.raises(SettingsError, match=r"reads the facet rgb: .* backbone.facets=\[tokens,rgb\]"):
        method_of(config("segment", *kmeans))
    assert method_of(config("segment", *kmeans, "backbone.facets=[tokens,rgb]"))


def test_a_training_is_left_out_where_its_result_is_given_or_none_is_needed() -> None:
    assert "model" in stage_names(config("solv_davis"))
    for change in ("method.name=kmeans", "model=kmeans"):
        made = config("solv_davis", change)
        assert "model" not in stage_names(made)
        assert (made.method.name, made.model) == ("kmeans", "")


def test_patches_need_a_branch_and_names_a_vocabulary() -> None:
    with pytest.raises(SettingsError, match=r"label.by=patches needs an adapted branch: --set label.branch="):
        builders.embeddings_stage(config("vol_ytvis"))
    with pytest.raises(SettingsError, match=r"label.vocabulary is empty: .*people,dogs,cars"):
        builders.named_stage(config("label_corpus"))
    named = builders.named_stage(config("vol_ytvis", "label.vocabulary=classes", "label.background=none"))
    assert (named.vocabulary.targets, named.vocabulary.background) == (40, ())
    assert (named.frames, named.keep_one) == (8, True)


def test_clips_of_naming_are_those_of_the_method() -> None:
    with pytest.raises(SettingsError, match=r"label.clip=8: the clips of method vol have 4 frames"):
        builders.named_stage(config("sprites_named", "vol.frames=4"))
    assert builders.named_stage(config("sprites_named", "vol.frames=4", "label.clip=0")).frames == 0
    assert builders.named_stage(config("sprites_named", "vol.joint=false")).frames == 8


def test_another_vocabulary_changes_the_naming_alone() -> None:
    """What CLIP sees of the tubes is computed without names."""
    one, other = (config("label_corpus", f"label.vocabulary={names}") for names in ("cat,dog", "car"))
    assert builders.embeddings_stage(one).fingerprint() == builders.embeddings_stage(other).fingerprint()
    assert builders.named_stage(one).fingerprint() != builders.named_stage(other).fingerprint()


def test_segmenting_without_a_model_is_refused() -> None:
    with pytest.raises(SettingsError, match="method solv needs a trained model: --set model=ARTIFACT"):
        builders.tubes_stage(config("segment"))
    assert not builders.tubes_stage(config("segment", "method.name=kmeans")).method.fits()


def test_no_model_is_given_unless_named() -> None:
    assert given_model(config("segment")) is None


def test_a_model_is_taken_for_the_features_it_was_trained_on(measured: Measured) -> None:
    """How often frames are taken does not matter to it; what a frame looks like does."""
    model = f"model={measured.artifact('model')}"
    found = given_model(config("segment", model, "decode.fps=2"))
    assert found is not None
    assert found.folder == measured.artifact("model")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("backbone.stride=8", "backbone.stride 4 -> 8"),
        ("decode.size=[64,64]", "geometry.size [32, 48] -> [64, 64]"),
        ("backbone.facets=[tokens]", "backbone.facets ['rgb', 'tokens'] -> ['tokens']"),
        (
            "backbone={name: dinov2_vits14, weights: random, facets: [tokens]}",
            "backbone.name patchstats -> dinov2_vits14",
        ),
    ],
)
def test_a_model_of_other_features_is_refused_with_what_differs(
    measured: Measured, change: str, named: str
) -> None:
    made = config("segment", f"model={measured.artifact('model')}", change)
    with pytest.raises(SettingsError) as error:
        given_model(made)
    text = str(error.value)
    assert f"model={measured.artifact('model')} was trained on other features (" in text
    assert named in text
    assert "leave these settings to the model" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("method.name=kmeans", "is one of method solv: leave method.name=kmeans to it"),
        ("solv.iterations=7", r"other options \(solv.iterations=7 instead of \d"),
    ],
)
def test_a_model_of_another_method_or_options_is_refused(measured: Measured, change: str, said: str) -> None:
    model = measured.result["artifacts"]["model"]
    with pytest.raises(SettingsError, match=said):
        given_model(config("segment", f"model={model}", change))
    assert given_model(config("segment", f"model={model}", "solv.always_match=true")) is not None


def test_trivial_rows_that_cannot_be_made_are_refused_before_the_training() -> None:
    with pytest.raises(SettingsError, match=r"method kmeans reads the facet rgb: .* backbone.facets"):
        builders.scores_stage(config("solv_davis", "kmeans.facet=rgb"))
    with pytest.raises(SettingsError, match="solv has to be trained"):
        builders.scores_stage(config("solv_davis", "metrics.baselines=[one,solv]"))


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no model there"):
        compose("segment", assignments=["data.root=/videos", f"model={tmp_path}"])
