"""SOLV on tokens that were encoded without the dropped ones: stored beforehand, or in training."""

import pytest

from tests.cli import run, run_json

SMALL = [
    "solv_ytvis",
    *(
        "--set",
        "data.kind=sprites",
        "--set",
        "data.name=sprites",
        "--set",
        "decode={size: [64, 64], crop: none}",
    ),
    *("--set", "data.sprites={level: L0, count: 4, frames: 4, size: [64, 64]}", "--set", "data.scored=all"),
    *("--set", "backbone={name: vit_tiny_patch16_224, weights: random}"),
    *(
        "--set",
        "solv={slots: 3, slot_width: 16, hidden: 16, temporal_heads: 2, temporal_layers: 1, decoder: [16]}",
    ),
    *("--set", "train={steps: 3, batch: 2}", "--set", "metrics.protocols=[fgari@video,mbo@video]"),
    *("--runner", "local"),
]


def settings(*given):
    return [argument for one in given for argument in ("--set", one)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("drops")


def recipe(folder, *given):
    return [*SMALL, *settings(f"data.root={folder / 'videos'}", f"store={folder / 'store'}", *given)]


@pytest.mark.parametrize(
    "given",
    [
        ("solv.token_drop=premasked", "solv.versions=2", "views.masked=2"),
        ("solv.token_drop=online", "backbone.facets=[tokens,pixels]"),
    ],
    ids=["premasked", "online"],
)
def test_whole_flow(folder, given):
    result = run_json(*recipe(folder, *given))
    assert result["totals"]["tubes"]["done"] == 4
    assert result["totals"]["scores"]["done"] == 4


def test_what_the_features_lack_is_said_before_anything_runs(folder):
    missing = run(*recipe(folder, "solv.token_drop=premasked", "solv.versions=2"), "--plan", code=2)
    assert "views mask0, mask1" in missing.stderr
    missing = run(*recipe(folder, "solv.token_drop=online"), "--plan", code=2)
    assert "backbone.facets=[tokens,pixels]" in missing.stderr
