"""What a declaration gives by default, and what of it decides about a trained model."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from stages.discovery.contract import Batch, FeatureShape, Method
from tests.outside import PROJECT
from tests.stages.discovery.making import ToyMethod


def test_defaults():
    method = ToyMethod()
    assert method.facets == ("tokens",) and method.views == ("base",)
    assert method.streams == (("base", "tokens"),)
    assert method.mask_kinds == ("decoder",) and not method.wants_encoder
    assert method.knowing(3) is method


def test_streams_are_all_facets_of_all_views():
    class Two(ToyMethod):
        facets = ("tokens", "keys")
        views = ("base", "flip")

    assert Two().streams == (("base", "tokens"), ("base", "keys"), ("flip", "tokens"), ("flip", "keys"))


def test_options_after_training_leave_the_trained_model_alone():
    method, other = ToyMethod(), ToyMethod(threshold=0.9)
    assert method.identity() != other.identity()
    assert method.identity(training=True) == other.identity(training=True)
    assert method.identity(training=True) != ToyMethod(width=5).identity(training=True)


def test_the_identity_has_name_version_and_all_options():
    found = ToyMethod().identity()
    assert found["method"] == "toy" and found["version"] == 1
    assert {"width", "threshold", "noise"} <= found["options"].keys()
    assert ToyMethod().identity() == replace(ToyMethod()).identity()


def test_a_declaration_needs_all_its_parts():
    with pytest.raises(TypeError, match="abstract"):
        Method()


def test_shapes_and_batches():
    shape = FeatureShape(3, 4, 8)
    assert shape.tokens == 12
    tokens = torch.rand(2, 5, 12, 8)
    batch = Batch({("base", "tokens"): tokens}, torch.ones(2, 5, dtype=torch.bool), shape)
    assert batch.tokens is tokens and batch.videos == ()


def test_declarations_import_no_torch():
    code = (
        "import sys, stages.discovery.registry as r\n"
        "for m in r.METHODS.values(): m().fits(), m().streams, m().identity()\n"
        "sys.exit(bool({'torch', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0
