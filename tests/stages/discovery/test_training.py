"""All fits of a method on real features: what is written, what is refused, what does not depend on chance."""

from __future__ import annotations

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch

from stages.discovery.solv import SolvMethod
from stages.discovery.training import annotated, gather
from stages.errors import SettingsError
from stages.learning.models import load_models
from tests.stages.discovery.making import (
    ToyMethod,
    catalog_in,
    context_for,
    features_in,
    stage,
    trained,
    weights,
)  # fmt: skip
from tests.stages.learning.making import METHOD

SOLV = replace(METHOD, merge_threshold=SolvMethod.merge_threshold)


def test_both_fits_are_trained_and_described(tmp_path):
    features = features_in(tmp_path / "features")
    trained(stage(), tmp_path / "model", context_for(features))
    files = {p.name for p in (tmp_path / "model").iterdir()}
    expected = {"first.safetensors", "second.safetensors", "model.json", "history.parquet", "tensorboard"}
    assert files == expected, "nothing is pickled, and no checkpoint is left"
    content = json.loads((tmp_path / "model" / "model.json").read_text())
    assert content["fits"] == ["first", "second"]
    assert content["method"]["method"] == "toy" and "threshold" not in content["method"]["options"]
    assert content["shape"] == {"rows": 2, "columns": 3, "width": 8}
    assert content["videos"] == 4 and content["train"]["batch"] == 4
    assert content["training"]["second"]["steps"] == 8
    assert 0 <= content["training"]["first"]["waiting_for_data"] <= 1
    for fit in ("first", "second"):
        logs = list((tmp_path / "model" / "tensorboard" / fit).glob("events.*"))
        assert logs and logs[0].stat().st_size > 100


def test_the_second_fit_gets_the_first_frozen_and_lowers_the_loss(tmp_path):
    features = features_in(tmp_path / "features")
    found = trained(stage(steps=150, batch=8), tmp_path / "model", context_for(features))
    for name in ("down.weight", "up.bias"):
        assert torch.equal(found[f"second.before.{name}"], found[f"first.{name}"])
    table = pq.read_table(tmp_path / "model" / "history.parquet").to_pylist()
    for fit, share in (("first", 0.8), ("second", 0.8)):
        loss = [row["value"] for row in table if row["fit"] == fit and row["name"] == "loss"]
        assert len(loss) == 150
        assert sum(loss[-10:]) < share * sum(loss[:10])


def test_every_group_of_an_optimiser_keeps_its_own_peak(tmp_path):
    """The toy's biases learn at half the rate of its first weights."""
    features = features_in(tmp_path / "features")
    context = context_for(features, checkpoints=tmp_path / "checkpoints")
    trained(stage(steps=4), tmp_path / "model", context)
    (last,) = (tmp_path / "checkpoints" / "first").glob("step-*")
    rates = [group["lr"] for group in json.loads((last / "state.json").read_text())["groups"]]
    assert rates[0] == 2 * rates[1] > 0


@pytest.mark.parametrize("method", [ToyMethod(noise=0.3), SOLV], ids=["toy", "solv"])
def test_equal_settings_give_equal_bytes(tmp_path, method):
    features = features_in(tmp_path / "features")
    first = trained(stage(method), tmp_path / "a", context_for(features))
    trained(stage(method), tmp_path / "b", context_for(features))
    for path in (tmp_path / "a").glob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    other = trained(stage(method, seed=1), tmp_path / "c", context_for(features))
    assert any(not torch.equal(first[k], other[k]) for k in first)


def test_a_finished_fit_is_not_trained_again(tmp_path):
    """A run killed between the last fit and the publication only writes the files."""
    features = features_in(tmp_path / "features")
    context = context_for(features, checkpoints=tmp_path / "checkpoints")
    first = trained(stage(hold_out=0.5), tmp_path / "a", context)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "checkpoints").rglob("*.safetensors")}
    again = trained(stage(hold_out=0.5), tmp_path / "b", context)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    histories = [pq.read_table(tmp_path / name / "history.parquet") for name in "ab"]
    assert histories[0].equals(histories[1])


def test_videos_held_out_are_validated_and_not_trained_on(tmp_path):
    features = features_in(tmp_path / "features", {f"v{i}": (2, 3) for i in range(12)})
    train = stage(hold_out=0.4, validate_every=3)
    corpus = gather(train, context_for(features))
    assert 0 < len(corpus.held_out) < 12 and not set(corpus.held_out) & set(corpus.training)
    assert len(corpus.held_out) + len(corpus.training) == 12
    trained(train, tmp_path / "model", context_for(features))
    table = pq.read_table(tmp_path / "model" / "history.parquet").to_pylist()
    rows = [row for row in table if row["fit"] == "first" and row["name"] == "validation loss"]
    assert [row["step"] for row in rows] == [3, 6, 8]
    plain = trained(stage(hold_out=0.4), tmp_path / "plain", context_for(features))
    watched = weights(tmp_path / "model")
    assert all(torch.equal(plain[k], watched[k]) for k in plain), "to watch a training changes nothing"


def test_annotated_videos_can_be_left_out(tmp_path):
    features = features_in(tmp_path / "features")
    catalog = catalog_in(tmp_path / "catalog", {"v0": "masks/v0", "v1": None, "v2": "masks/v2", "v3": None})
    assert annotated(catalog) == {"v0", "v2"}
    context = context_for(features, inputs={"catalog": str(catalog)})
    assert gather(stage(exclude_annotated=True), context).training == ("v1", "v3")
    assert gather(stage(), context).training == ("v0", "v1", "v2", "v3")


def test_no_video_is_a_sentence(tmp_path):
    with pytest.raises(SettingsError, match="no video is left to train on.*--explain"):
        trained(stage(), tmp_path / "model", context_for(features_in(tmp_path / "features", {})))
    features = features_in(tmp_path / "one", {"v0": (2, 3)})
    catalog = catalog_in(tmp_path / "catalog", {"v0": "masks"})
    context = context_for(features, inputs={"catalog": str(catalog)})
    with pytest.raises(SettingsError, match="no video is left to train on"):
        trained(stage(exclude_annotated=True), tmp_path / "again", context)


def test_different_grids_name_two_videos(tmp_path):
    features = features_in(tmp_path / "features", {"v0": (2, 3), "v1": (2, 3), "v2": (3, 2), "v3": (2, 3)})
    message = r"videos v0 and v2 .*2 x 3 x 8 and 3 x 2 x 8.*set decode.size=\[h,w\]"
    with pytest.raises(SettingsError, match=message):
        trained(stage(), tmp_path / "model", context_for(features))


def test_a_grid_of_its_own_among_the_videos_held_out_is_named_too(tmp_path):
    grids = {f"v{i}": (2, 3) for i in range(12)}
    held = gather(stage(hold_out=0.4), context_for(features_in(tmp_path / "a", grids))).held_out[0]
    features = features_in(tmp_path / "b", {**grids, held: (3, 2)})
    with pytest.raises(SettingsError, match=f"and {held} have different grids"):
        gather(stage(hold_out=0.4), context_for(features))


def test_a_loss_that_is_no_number_names_step_and_videos(tmp_path):
    features = features_in(tmp_path / "features", {"v0": (2, 3), "v1": (2, 3)})
    context = context_for(features, checkpoints=tmp_path / "checkpoints", checkpoint_s=0.0)
    message = "the loss became nan in step 5 of 8, on videos v[01].*lower train.rate .now 0.02"
    with pytest.raises(SettingsError, match=message):
        trained(stage(ToyMethod(nan_at=5)), tmp_path / "model", context)
    last = max((tmp_path / "checkpoints" / "first").glob("step-*"))
    assert last.name == "step-00000005", "what was good is kept"


def test_checkpoints_of_other_settings_are_refused(tmp_path):
    features = features_in(tmp_path / "features")
    context = context_for(features, checkpoints=tmp_path / "checkpoints")
    trained(stage(), tmp_path / "model", context)
    with pytest.raises(SettingsError, match=r"step-00000008 is of another.*train.rate 0.02 instead of 0.1"):
        trained(stage(rate=0.1), tmp_path / "other", context)


def test_a_batch_that_can_not_be_shared_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 3)
    features = features_in(tmp_path / "features")
    with pytest.raises(SettingsError, match=r"train.batch=4 can't be shared by run.train_workers=3"):
        trained(stage(), tmp_path / "model", context_for(features))


def test_a_trained_solv_loads(tmp_path):
    features = features_in(tmp_path / "features")
    found = trained(stage(SOLV), tmp_path / "model", context_for(features))
    model = load_models(tmp_path / "model", SOLV)["solv"]
    assert not model.training
    assert all(torch.equal(found[f"solv.{k}"], v) for k, v in model.state_dict().items())
    assert all(torch.isfinite(v).all() for v in found.values())
