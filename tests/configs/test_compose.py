from __future__ import annotations

import pytest
import yaml

from configs.compose import compose, recipes, to_dict
from configs.schema import keys
from stages.errors import SettingsError


def test_every_recipe_composes_and_has_help():
    found = recipes()
    assert {"features", "quickstart"} <= {recipe.name for recipe in found}
    for recipe in found:
        assert recipe.help
        assert compose(recipe.name).recipe == recipe.name


def test_values_are_typed_by_the_schema():
    config = compose(
        "features",
        assignments=[
            "decode.fps=2",
            "decode.size=[48, 64]",
            "data.year=2016",
            "data.name=2016",
            "run.gpus=0.5",
        ],
    )
    assert (config.decode.fps, config.decode.size) == (2.0, (48, 64))
    assert (config.data.year, config.data.name, config.run.gpus) == ("2016", "2016", 0.5)


def test_home_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    config = compose("features", assignments=["data.root=~/videos", "store=~", "backbone.weights=~/w.pth"])
    assert (config.data.root, config.store) == ("/home/someone/videos", "/home/someone")
    assert config.backbone.weights == "/home/someone/w.pth"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("data.rot=x", r"unknown setting 'data.rot', did you mean 'data.root'"),
        ("bakcbone.name=x", r"did you mean 'backbone.name'"),
        ("segment_frames=3", r"did you mean 'data.segment_frames'"),
        ("decode.fps=-1", "decode.fps must be a positive number"),
        ("run.threads=many", "run.threads=many.*valid integer"),
        ("data.kind=davsi", "did you mean davis"),
        ("decode", "expected key=value"),
        ("backbone.facets=[tokns]", "choose among"),
        ("label.step=0", "^label.step=0: at least 1 is needed$"),
        ("data={}", None),
    ],
)
def test_wrong_settings_are_refused_with_the_right_ones(assignment, message):
    if message is None:
        assert compose("features", assignments=[assignment]) == compose("features")
        return
    with pytest.raises(SettingsError, match=message):
        compose("features", assignments=[assignment])


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(SettingsError, match="did you mean 'features'"):
        compose("feature")


def test_precedence(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("decode: {fps: 3}\nrun: {threads: 2}\n")
    config = compose("quickstart", [str(file)], ["run.threads=4"])
    assert config.decode.fps == 3  # the file wins over the recipe
    assert config.run.threads == 4  # --set wins over the file
    assert config.data.kind == "sprites"  # the recipe wins over the schema


def test_groups_follow_the_choice_and_give_way_to_settings():
    assert compose("features").decode.fps == 5
    assert compose("features", assignments=["data.kind=davis"]).decode.fps == "all"
    assert compose("features", assignments=["data.kind=davis", "decode.fps=2"]).decode.fps == 2


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="can't read"):
        compose("features", [str(tmp_path / "absent.yaml")])
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(SettingsError, match="no YAML"):
        compose("features", [str(tmp_path / "bad.yaml")])
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(SettingsError, match="holds no settings"):
        compose("features", [str(tmp_path / "list.yaml")])


def test_the_saved_configuration_composes_to_itself(tmp_path):
    config = compose("features", assignments=["decode.size=[48,64]", "data.root=/videos", "views.flip=true"])
    saved = to_dict(config)
    saved.pop("recipe")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(saved))
    assert compose("features", [str(file)]) == config


def test_every_setting_is_documented():
    assert [name for name, text in keys().items() if not text] == []
