"""A method trained on Ray Train: the local runner's model, worker by worker."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from cluster import ray_setup
from cluster.on_ray import RayRunner
from cluster.resources import ResourcesError
from stages.decode.spec import DecodeSpec
from stages.errors import SettingsError
from tests.cluster.noting import noted
from tests.faults.processes import wait_until
from tests.stages.discovery.making import ToyMethod, context_for, features_in, stage, trained, weights
from tests.stages.pretraining import making as pretraining


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    """One Ray for all tests here; runners find it initialised and leave it alone."""
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"  # of a killed worker the tests shall hear soon
    ray_setup.connect(None, 2)
    yield
    ray_setup.ray.shutdown()
    del os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"]


def on_ray_train(stage, folder, context, workers=1):
    folder.mkdir()
    RayRunner(fit_workers=workers).fit(stage, [Path(context.inputs["features"])], folder, context)
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    return weights(folder)


def test_one_worker_gives_the_local_bytes_although_it_is_killed(tmp_path, monkeypatch):
    """It is started again and goes on from the last checkpoint; after progress a loss counts for nothing."""
    monkeypatch.setattr("cluster.ray_training._TRAIN_FAILURES", 0)
    features = features_in(tmp_path / "features")
    marker = tmp_path / "killed"
    method = ToyMethod(noise=0.2, kill_at=5, marker=str(marker))
    context = context_for(features, checkpoints=tmp_path / "checkpoints", checkpoint_s=0.0)
    found = on_ray_train(stage(method), tmp_path / "ray", context)
    assert marker.exists()
    local = trained(stage(method), tmp_path / "local", context_for(features))
    assert local.keys() == found.keys()
    assert all(torch.equal(local[name], found[name]) for name in local)


@pytest.mark.long
def test_two_workers_give_the_weights_of_one_to_rounding_although_one_is_killed(tmp_path):
    """After eight steps, and because this method draws nothing: see `stages.learning.loop.Place`."""
    features = features_in(tmp_path / "features")
    marker = tmp_path / "killed"
    method = ToyMethod(kill_at=5, marker=str(marker))
    context = context_for(features, checkpoints=tmp_path / "checkpoints", checkpoint_s=0.0)
    found = on_ray_train(stage(method, hold_out=0.3, validate_every=3), tmp_path / "ray", context, workers=2)
    assert marker.exists()
    local = trained(stage(method, hold_out=0.3), tmp_path / "local", context_for(features))
    for name, value in local.items():
        assert torch.allclose(value, found[name], rtol=1e-4, atol=1e-5), name


@pytest.mark.long
def test_a_training_that_dies_in_the_same_step_again_and_again_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("cluster.ray_training._TRAIN_FAILURES", 1)
    features = features_in(tmp_path / "features")
    context = context_for(features, checkpoints=tmp_path / "checkpoints", checkpoint_s=0.0)
    with pytest.raises(ResourcesError, match="died 2 times in a row from checkpoint first/step-00000005 "):
        on_ray_train(stage(ToyMethod(kill_at=5)), tmp_path / "model", context)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_sentence_arrives_as_one(tmp_path, workers):
    """With two, only the second meets the problem, and is not tried again."""
    features = features_in(tmp_path / "features", {"v0": (2, 3)})
    method = ToyMethod(nan_at=3, nan_rank=workers - 1)
    with pytest.raises(SettingsError, match="^the loss became nan in step 3 of 8, on videos v0: lower"):
        on_ray_train(stage(method), tmp_path / "model", context_for(features), workers)


def test_ctrl_c_interrupts_a_training_and_what_comes_after_it(tmp_path):
    context = context_for(
        features_in(tmp_path / "features"), checkpoints=tmp_path / "saved", checkpoint_s=0.0
    )
    before = signal.getsignal(signal.SIGINT)

    def interrupt():
        try:
            wait_until(lambda: list((tmp_path / "saved").glob("*/step-*")), "step")
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor() as pool, pytest.raises(KeyboardInterrupt):
        sent = pool.submit(interrupt)
        on_ray_train(stage(steps=10**6), tmp_path / "model", context)
    sent.result()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.long
def test_clips_that_are_decoded_elsewhere_give_the_same_model(tmp_path):
    """With what could not be decoded, and what came in its place. Without Ray Train: `test_ray_decoding`."""
    corpus = pretraining.corpus_in(tmp_path / "corpus", clips=1)
    context = pretraining.context_for(corpus)
    made = replace(pretraining.lasting(2), decode=DecodeSpec(decoder="tests.cluster.noting:NotingDecoder"))
    remote, local = tmp_path / "remote", tmp_path / "local"
    remote.mkdir()
    local.mkdir()
    RayRunner(decoders=1).fit(made, [corpus / "catalog"], remote, context)
    assert noted(corpus / "notes", "decode") == noted(corpus / "notes", "ray::DecodeActor") != set()
    assert not noted(corpus / "notes", "ray::RayTrainWorker")
    made.make([], local, context)
    names = ("videomae.safetensors", "rejects.parquet")
    assert [(remote / name).read_bytes() for name in names] == [(local / name).read_bytes() for name in names]
    assert pq.read_table(remote / "rejects.parquet")["error_class"].to_pylist() == ["decode_error"]


def test_more_workers_than_cpus_are_refused(tmp_path):
    features = features_in(tmp_path / "features")
    with pytest.raises(ResourcesError, match="64 processes of the training need 1 CPU each.* run.train_wor"):
        on_ray_train(stage(batch=64), tmp_path / "model", context_for(features), workers=64)
