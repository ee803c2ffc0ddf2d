"""VOL on videos that keep their aspect: trained on two grids, killed, gone on with, used on a third."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from stages.artifacts.commit import commit
from stages.decode.spec import Geometry
from stages.discovery.contract import Batch, FeatureShape
from stages.discovery.dinosaur import DinosaurMethod
from stages.discovery.train_stage import TrainStage
from stages.discovery.training import gather
from stages.discovery.vol import VolMethod
from stages.discovery.vol_model import VolModel
from stages.errors import SettingsError
from stages.features.backbones.online import clip_encoder
from stages.features.store.reader import FeatureStore
from stages.features.views import ViewsSpec
from stages.learning.models import load_models
from stages.learning.spec import TrainSpec
from tests.media import make_video
from tests.stages.discovery.making import context_for, features_in, stage, trained
from tests.stages.discovery.making_solv import ToyVideo, noise
from tests.stages.features.store.making import artifact_at
from tests.stages.features.test_bank import STAGE
from tests.stages.features.test_stage_worker import row, run

SMALL = {"slots": 3, "slot_width": 8, "hidden": 8, "decoder": (8,), "warmup": 0, "position_grid": 3}
VOL = VolMethod(frames=3, clips_per_video=3, centre_features=True, **SMALL)
TOYS = {f"v{i:02}": (2, 3) if i % 3 else (4, 2) for i in range(12)}


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return features_in(tmp_path_factory.mktemp("toys") / "features", TOYS)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Features and pixels of two real videos, one wide, one tall."""
    root = tmp_path_factory.mktemp("videos")
    keeping = replace(STAGE, geometry=Geometry(16), views=ViewsSpec())
    make_video(root / "wide.mp4", 10, (32, 48))
    make_video(root / "tall.mp4", 10, (48, 32))
    artifact = artifact_at(root / "features")
    rows = [row(video, f"{video}.mp4", 10) for video in ("wide", "tall")]
    outcomes, written = run(keeping, root, rows, root / "features" / "shards" / ".000000.tmp")
    assert [outcome.info["grid"] for outcome in outcomes] == [[2, 3], [3, 2]]
    commit(artifact, "000000", written, outcomes)
    return artifact.root


class Killed(Exception):
    pass


def die(figures):
    if figures["step"] == 5:
        raise Killed


def resumed(stage: TrainStage, features: Path, folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a training that died in its fifth step, of which nothing shows."""
    whole = trained(stage, folder / "whole", context_for(features))
    more = {"checkpoints": folder / "checkpoints", "checkpoint_s": 0.0}
    with pytest.raises(Killed):
        trained(stage, folder / "killed", context_for(features, report=die, **more))
    assert [path.name for path in (folder / "checkpoints" / "vol").glob("step-*")]
    again = trained(stage, folder / "again", context_for(features, **more))
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    return whole


def history(folder):
    return pq.read_table(folder / "history.parquet").to_pylist()


def test_a_training_on_two_grids_goes_on_exactly(toys, tmp_path):
    training = stage(VOL, steps=None, epochs=2, batch=4, hold_out=0.3, validate_every=4)
    corpus = gather(training, context_for(toys))
    held = {TOYS[video] for video in corpus.held_out}
    assert len({TOYS[video] for video in corpus.training}) == len(held) == 2, "both have both grids"
    resumed(training, toys, tmp_path)
    rows = history(tmp_path / "whole")
    counts = [sum(TOYS[video] == grid for video in corpus.training) for grid in set(TOYS.values())]
    steps = 2 * sum(-(-3 * count // 4) for count in counts)
    assert [row["step"] for row in rows if row["name"] == "loss"] == list(range(1, steps + 1))
    assert all(0 < row["value"] < 1e3 for row in rows if row["name"].endswith("loss"))
    assert sum(row["name"] == "validation loss" for row in rows) == -(-steps // 4)
    content = json.loads((tmp_path / "whole" / "model.json").read_text())
    first = corpus.training[0]
    assert (content["shape"]["rows"], content["shape"]["columns"]) == TOYS[first]


def test_a_grid_that_training_never_saw_is_segmented(toys, tmp_path):
    trained(stage(VOL, steps=4), tmp_path / "model", context_for(toys))
    models = load_models(tmp_path / "model", VOL)
    with torch.no_grad():
        found = VOL.implement().segment(models, ToyVideo(noise(7, 15, 8), 5, 3))
    assert found.masks["decoder"].shape == (7, 3, 5, 3)
    assert torch.allclose(found.masks["decoder"].sum(1)[found.active.all(1)], torch.ones(5, 3), atol=1e-5)


def test_online_frames_have_the_size_of_their_video(videos, tmp_path):
    method = VolMethod(clips_from="online", clips_per_video=2, **SMALL)
    training = TrainStage(method, TrainSpec(steps=8, batch=2, rate=0.01), STAGE.backbone)
    resumed(training, videos, tmp_path)
    losses = [row["value"] for row in history(tmp_path / "whole") if row["name"] == "loss"]
    assert len(losses) == 8 and all(0 < loss < 1e3 for loss in losses)


def test_the_model_sees_the_stored_features_of_either_grid(videos):
    """What a training step is given of the first run of each video."""
    store = FeatureStore(videos)
    model = VolModel(VolMethod(clips_from="online", **SMALL), FeatureShape(2, 3, 192))
    model.encoder = clip_encoder(STAGE.backbone, grid=(2, 3))
    for video, shape in (("wide", FeatureShape(2, 3, 192)), ("tall", FeatureShape(3, 2, 192))):
        pixels = store.clip(video, range(8), "pixels")[None].float()
        batch = Batch({("base", "pixels"): pixels}, torch.ones(1, 8, dtype=torch.bool), shape)
        stored = store.clip(video, range(8)).float()
        assert torch.allclose(model._tokens(batch)[0], stored, rtol=2**-9, atol=2e-4)


def test_dinosaur_takes_any_grid_where_it_has_no_position_codes(toys, tmp_path):
    method = DinosaurMethod(
        slots=3, slot_width=8, hidden=8, decoder=(8,), warmup=0, heads=2, layers=1, autoregressive=True
    )
    trained(stage(method, steps=4), tmp_path / "model", context_for(toys))
    assert len([row for row in history(tmp_path / "model") if row["name"] == "loss"]) == 4
    with pytest.raises(SettingsError, match=r"have different grids .*set decode.size=\[h,w\], or use .*vol"):
        gather(stage(replace(method, autoregressive=False)), context_for(toys))
