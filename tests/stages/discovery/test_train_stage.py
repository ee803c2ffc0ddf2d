"""The declaration of a training: what is in its fingerprint, and what it imports."""

from __future__ import annotations

import subprocess
import sys

from stages.discovery.solv import SolvMethod
from stages.discovery.train_stage import TrainStage
from stages.features.backbone_spec import BackboneSpec
from stages.learning.spec import TrainSpec
from tests.outside import PROJECT
from tests.stages.discovery.making import ToyMethod, stage


def test_what_changes_the_model_changes_the_fingerprint():
    stages = [
        stage(), stage(rate=0.1), stage(seed=3), stage(steps=9), stage(batch=8), stage(ToyMethod(width=3)),
        stage(SolvMethod()), stage(SolvMethod(slots=9)),
    ]  # fmt: skip
    prints = {each.fingerprint(["features"]) for each in stages}
    assert len(prints) == len(stages)
    assert stage().fingerprint(["other features"]) not in prints


def test_what_matters_only_afterwards_does_not():
    assert stage(ToyMethod(threshold=0.9)).fingerprint() == stage().fingerprint()
    backbone = TrainStage(ToyMethod(), stage().train, BackboneSpec())
    assert backbone.fingerprint() == stage().fingerprint(), "the features' fingerprint has it"


def test_its_name_is_the_methods():
    assert TrainStage(SolvMethod(), TrainSpec()).name == "solv"


def test_a_plan_that_imports_it_stays_light():
    code = "import stages.discovery.train_stage, sys; print(*{'torch', 'ray', 'sklearn'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
