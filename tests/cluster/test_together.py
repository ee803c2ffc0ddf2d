"""Processes of this machine that train together: the same model as one, and errors that come back."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from cluster.local import LocalRunner
from stages.errors import SettingsError
from stages.stage import WorkContext
from tests.cluster.toy import ToyFit
from tests.stages.discovery.making import ToyMethod, context_for, features_in, stage, trained, weights


def together(stage, folder, context, workers=2):
    folder.mkdir()
    LocalRunner(fit_workers=workers).fit(stage, [Path(context.inputs["features"])], folder, context)
    return weights(folder)


def test_two_processes_give_the_weights_of_one_to_rounding(tmp_path):
    """Over more than one epoch, whose clips (5 of every video) don't divide by the batch."""
    features = features_in(tmp_path / "features", {f"v{i}": (2, 3) for i in range(9)})
    train = stage(steps=20, hold_out=0.3, validate_every=4)
    alone = trained(train, tmp_path / "alone", context_for(features))
    both = together(train, tmp_path / "both", context_for(features))
    assert alone.keys() == both.keys()
    for name, value in alone.items():
        assert torch.allclose(value, both[name], rtol=1e-4, atol=1e-5), name
    names = set(pq.read_table(tmp_path / "both" / "history.parquet")["name"].to_pylist())
    assert {"loss", "validation loss"} <= names
    assert multiprocessing.active_children() == []


def test_a_training_of_two_goes_on_with_one(tmp_path):
    """A checkpoint does not know how many processes there were."""
    features = features_in(tmp_path / "features")
    whole = trained(stage(steps=12), tmp_path / "whole", context_for(features))
    marker = tmp_path / "killed"
    method = ToyMethod(kill_at=7, marker=str(marker))
    context = context_for(features, checkpoints=tmp_path / "checkpoints", checkpoint_s=0.0)
    with pytest.raises(RuntimeError, match="ended with code -9.*the same command goes on"):
        together(stage(method, steps=12), tmp_path / "killed-model", context)
    assert marker.exists()
    found = trained(stage(method, steps=12), tmp_path / "rest", context)
    for name, value in whole.items():
        assert torch.allclose(value, found[name], rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize("rank", [0, 1])
def test_a_loss_that_is_no_number_in_one_process_ends_both(tmp_path, rank):
    features = features_in(tmp_path / "features", {"v0": (2, 3)})
    with pytest.raises(
        SettingsError, match="the loss became nan in step 3 of 8, on videos v0: lower train.rate"
    ):
        together(stage(ToyMethod(nan_at=3, nan_rank=rank)), tmp_path / "model", context_for(features))
    assert multiprocessing.active_children() == []


def test_a_batch_is_shared_equally_or_refused(tmp_path):
    features = features_in(tmp_path / "features")
    with pytest.raises(SettingsError, match="train.batch=5 can't be shared by run.train_workers=2"):
        together(stage(batch=5), tmp_path / "model", context_for(features))


def test_a_bug_comes_back_with_its_traceback(tmp_path):
    with pytest.raises(RuntimeError, match=r"Traceback(.|\n)*FileNotFoundError: .*absent is no artifact"):
        together(stage(), tmp_path / "model", context_for(tmp_path / "absent"))


def test_any_fit_stage_runs_in_other_processes(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    LocalRunner(fit_workers=2).fit(ToyFit(), [tmp_path / "in"], folder, WorkContext("", tmp_path))
    assert int((folder / "model.txt").read_text().rsplit(" ", 1)[1]) != os.getpid()
