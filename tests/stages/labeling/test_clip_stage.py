import subprocess
import sys

import pytest

from configs.compose import compose
from pipelines.graph import build
from pipelines.planning import Options, make_plan
from pipelines.running import make_whole, next_fit
from stages.artifacts import whole
from stages.errors import SettingsError
from stages.labeling.clip_stage import ClipStage
from stages.labeling.sprites_clip_spec import SpritesClipSpec
from stages.stage import WorkContext
from tests.outside import PROJECT

FEW = SpritesClipSpec(clips=110, seed=1, steps=1)


class Interrupted:
    """A runner whose training is stopped at its first figures."""

    def fit(self, stage, inputs, folder, context):
        def stop(_):
            raise KeyboardInterrupt

        assert list(inputs) == []
        stage.make(inputs, folder, WorkContext("", context.scratch, report=stop))


@pytest.fixture
def graph(tmp_path):
    few = ("clip_sprites.clips=110", "clip_sprites.seed=1", "clip_sprites.steps=1")
    return build(compose("clip_sprites", assignments=[f"store={tmp_path}", *few]))


def test_a_graph_of_one_training(graph):
    assert (graph.chain, graph.fingerprints) == ((), ())
    plan = make_plan(graph, Options(), record=True)
    assert (plan.tasks, plan.listed, plan.pending) == ([], 0, True)
    assert [stage.reasons for stage in plan.stages] == [["not made yet"]]


def test_an_interrupt_leaves_no_half_artifact(graph):
    fit = next_fit(graph)
    with pytest.raises(KeyboardInterrupt):
        make_whole(fit, graph, Interrupted(), {})
    assert whole.current(fit.folder) is None
    assert {path.name for path in fit.folder.iterdir()} == {"stage.json"}
    assert next_fit(graph) == fit


def test_equal_settings_give_equal_bytes(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        ClipStage(FEW).make([], tmp_path / name, WorkContext("", tmp_path))
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {"accuracy.json", "open_clip_config.json", "open_clip_model.safetensors"}
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)


def test_it_depends_on_no_data_and_on_its_own_section_alone():
    """The same model in every recipe that trains it, whatever comes before."""

    def fingerprint(*more):
        graph = build(compose("clip_sprites", assignments=["store=/s", *more]))
        return graph.whole[0].fingerprint

    assert fingerprint() == fingerprint("data.root=/x", "train.seed=4") == ClipStage().fingerprint()
    assert fingerprint("clip_sprites.seed=4") != fingerprint()


def test_odd_settings():
    for change, what in (
        ({"rate": 0.0}, "rate=0.0"),
        ({"levels": ("L9",)}, "levels=L9"),
        ({"levels": ()}, "levels="),
    ):
        with pytest.raises(SettingsError, match=f"clip_sprites.{what}"):
            SpritesClipSpec(**change)


def test_declaring_it_is_light():
    code = (
        "import sys, stages.labeling.clip_stage, stages.labeling.branch_stage; print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True
    )
    assert done.stdout.strip() == "False"
