"""Trainings are estimated by the steps of an earlier one whose steps cost the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from configs.compose import compose
from pipelines.graph import BoundWhole, build
from pipelines.trainings import seconds_left
from tests.measured import Measured


def bound(measured: Measured, *more: str) -> BoundWhole:
    settings = [str(s) for s in measured.arguments[2:-2:2]]
    (fit,) = [item for item in build(compose("solv_ytvis", assignments=[*settings, *more])).whole if item.fit]
    return fit


def step_s(measured: Measured) -> float:
    (path,) = measured.artifact("model").glob("*/model.json")
    figures = json.loads(path.read_text())["training"]["solv"]
    return figures["seconds"] / figures["steps"]


def test_steps_times_what_one_took(measured: Measured) -> None:
    for more in ([], ["train.seed=3", "train.rate=0.1"]):
        found = seconds_left(bound(measured, "train.steps=40", *more), measured.store, videos=None)
        assert found == (pytest.approx(40 * step_s(measured)), measured.artifact("model").name)


@pytest.mark.parametrize("more", ["train.batch=4", "solv.slots=8", "decode.size=[48,48]", "train.steps=null"])
def test_other_steps_and_unknown_numbers_are_not_guessed(measured: Measured, more: str) -> None:
    assert seconds_left(bound(measured, more), measured.store, videos=10) is None


def test_steps_in_a_checkpoint_are_taken(measured: Measured) -> None:
    fit = bound(measured, "train.steps=41")
    checkpoint = Path(fit.folder, "checkpoints", "solv", "step-00000030")
    checkpoint.mkdir(parents=True)
    try:
        found = seconds_left(fit, measured.store, videos=None)
    finally:
        for path in (checkpoint, *list(checkpoint.parents)[:3]):
            path.rmdir()
    assert found is not None and found[0] == pytest.approx(11 * step_s(measured))
