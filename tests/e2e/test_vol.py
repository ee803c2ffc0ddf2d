"""VOL and DINOSAUR through the command line on sprites: train two steps, segment, score."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.artifacts import whole
from stages.evaluation.results import read_metrics
from stages.tubes.reader import TubeStore
from tests.cli import run_json

FRAMES = 11
SETTINGS = (
    "data.kind=sprites", "data.name=sprites", "decode.crop=none", "decode.size=[32,32]",
    f"data.sprites={{level: L0, count: 4, frames: {FRAMES}, size: [32, 32]}}",
    "backbone={name: patchstats, stride: 4}", "train={steps: 2, batch: 2, rate: 0.003}",
    "vol={slots: 4, slot_width: 8, hidden: 16, decoder: [16], warmup: 1}",
    "dinosaur={slots: 4, slot_width: 8, hidden: 16, decoder: [16], warmup: 1, heads: 1}",
    "metrics.protocols=[mbo@frame,corloc@vol,map50@vol,ap50@ytvis-agnostic]", "metrics.baselines=[one]",
)  # fmt: skip


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vol")
    settings = (*SETTINGS, f"data.root={folder / 'videos'}", f"store={folder / 'store'}")
    return ["solv_ytvis", *(word for s in settings for word in ("--set", s)), "--runner", "local"]


def test_vol(arguments):
    words = [*arguments, "--set", "method.name=vol"]
    done = run_json(*words)
    tubes = TubeStore(done["artifacts"]["tubes"])
    assert tubes.kinds() == ("decoder",) and len(tubes.videos()) == 4
    for video in tubes.videos():
        labels = tubes.label_map(video, "decoder")
        assert labels.shape == (FRAMES, 32, 32) and labels.min() >= 0
    metrics = read_metrics(done["artifacts"]["metrics"])
    assert metrics["primary"] == "corloc@vol" and list(metrics["values"]) == ["decoder", "one"]
    assert all(0 <= value <= 1 for values in metrics["values"].values() for value in values.values())
    history = pq.read_table(whole.current(Path(done["artifacts"]["model"]))[0] / "history.parquet")
    assert {"loss", "slots"} <= set(history["name"].to_pylist())

    published = [*words, "--set", "vol.strict_clips=true", "--set", "vol.link_threshold=0"]
    plan = {stage["kind"]: stage["todo"] for stage in run_json(*published, "--plan")["stages"]}
    assert (plan["features"], plan["model"], plan["tubes"]) == (0, 0, 4), "the model is kept"


def test_dinosaur_with_the_autoregressive_decoder(arguments):
    more = ["method.name=dinosaur", "dinosaur.autoregressive=true", "dinosaur.masks=attention"]
    done = run_json(*arguments, *(word for s in more for word in ("--set", s)))
    tubes = TubeStore(done["artifacts"]["tubes"])
    assert tubes.kinds() == ("attention", "decoder")
    assert tubes.label_map(tubes.videos()[0], "attention").min() >= 0
