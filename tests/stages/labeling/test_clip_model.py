import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.errors import SettingsError
from stages.labeling.clip_model import build, load_clip
from stages.labeling.clip_spec import CONFIG_NAME, WEIGHTS_NAME, ClipSpec

from .conftest import TINY

PROMPTS = ["a red star", "a blue box"]


def test_a_saved_model_is_the_same_again(tiny_folder, tiny_json, tiny):
    again = load_clip(ClipSpec(model=str(tiny_json), weights=str(tiny_folder / WEIGHTS_NAME)))
    features = tiny.text_features(PROMPTS)
    assert features.shape == (2, 24) and torch.equal(features, again.text_features(PROMPTS))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    assert not torch.equal(features[0], features[1])
    torch.testing.assert_close(features, tiny.text_features(PROMPTS, batch=1))
    assert tiny.text_features([]).shape == (0, 24)
    assert not any(p.requires_grad for p in tiny.parameters()) and not tiny.model.training


def test_images(tiny):
    images = torch.rand(3, 3, 32, 32)
    found = tiny.image_embedding(images)
    assert tiny.size == (32, 32) and found.shape == (3, 24)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    expected = (images[0, 1, 5, 7] - 0.4578275) / 0.26130258  # CLIP's statistics, green
    torch.testing.assert_close(tiny.normalise(images)[0, 1, 5, 7], expected)


def test_own_statistics_are_used(tiny_folder, tmp_path):
    content = {"model_cfg": TINY, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (tmp_path / CONFIG_NAME).write_text(json.dumps(content))
    (tmp_path / WEIGHTS_NAME).write_bytes((tiny_folder / WEIGHTS_NAME).read_bytes())
    for model in (tmp_path, tmp_path / CONFIG_NAME):
        spec = ClipSpec(model=str(model), weights=str(tmp_path / WEIGHTS_NAME))
        torch.testing.assert_close(load_clip(spec).normalise(torch.ones(3, 1, 1)), torch.full((3, 1, 1), 2.0))


def test_truncated_prompts_are_named(tiny):
    """Twelve tokens, two of which are marks: ten words fit, eleven do not."""
    fits, long = " ".join(["red"] * 10), " ".join(["red"] * 11)
    very = " ".join(["red"] * 99)
    assert tiny.truncated([fits, long, "a star", very]) == (long, very)
    assert tiny.truncated([]) == ()


def test_random_weights_follow_the_seed_and_warn(tiny_json):
    before = torch.random.get_rng_state()
    with pytest.warns(UserWarning, match="THE NAMES MEAN NOTHING"):
        first, same, other = (
            load_clip(ClipSpec(model=str(tiny_json), weights="random", seed=seed)).text_features(PROMPTS)
            for seed in (1, 1, 2)
        )
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_weights_of_another_architecture(tiny_folder, tiny_json, tmp_path):
    state = load_file(tiny_folder / WEIGHTS_NAME)
    wider = tmp_path / "wider.safetensors"
    save_file(state | {"visual.proj": torch.zeros(48, 24)}, wider)
    with pytest.raises(
        SettingsError, match=r"wider.safetensors does not fit.*1 of another shape: visual.proj"
    ):
        load_clip(ClipSpec(model=str(tiny_json), weights=str(wider)))
    del state["logit_scale"]
    save_file(state | {"head.weight": torch.zeros(1)}, wider)
    with pytest.raises(SettingsError, match="1 missing: logit_scale; 1 unexpected: head.weight"):
        load_clip(ClipSpec(model=str(tiny_json), weights=str(wider)))
    wider.write_bytes(b"nothing")
    with pytest.raises(SettingsError, match="wider.safetensors can't be read"):
        load_clip(ClipSpec(model=str(tiny_json), weights=str(wider)))


class Parts(torch.nn.Module):
    """A state dict as the first releases have it: scripted, in half precision, with more than weights."""

    def __init__(self, state):
        super().__init__()
        for name, value in state.items():
            owner = self
            *path, last = name.split(".")
            for part in path:
                if not hasattr(owner, part):
                    owner.add_module(part, torch.nn.Module())
                owner = getattr(owner, part)
            owner.register_buffer(last, value)
        self.register_buffer("input_resolution", torch.tensor(32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_releases_in_other_forms(tiny_folder, tiny_json, tiny, tmp_path):
    state = load_file(tiny_folder / WEIGHTS_NAME)
    wrapped = {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}
    torch.save(wrapped, tmp_path / "training.pt")
    half = {k: v.half() if v.ndim else v for k, v in state.items()}
    torch.jit.script(Parts(half)).save(str(tmp_path / "scripted.pt"))
    for name, within in (("training.pt", 0), ("scripted.pt", 2e-2)):
        found = load_clip(ClipSpec(model=str(tiny_json), weights=str(tmp_path / name))).text_features(PROMPTS)
        assert (found - tiny.text_features(PROMPTS)).abs().max() <= within


def test_configurations_that_open_clip_cant_build(tmp_path):
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(TINY | {"vision_cfg": TINY["vision_cfg"] | {"colour": 1}}))
    with pytest.raises(SettingsError, match=r"odd.json: open_clip can't build it \(.*colour"):
        build(ClipSpec(model=str(path), weights="random"))
    path.write_text(json.dumps(TINY | {"text_cfg": TINY["text_cfg"] | {"hf_tokenizer_name": "some/where"}}))
    with pytest.raises(SettingsError, match="put it into a folder"):
        build(ClipSpec(model=str(path), weights="random"))


def test_a_release_brings_its_activation(monkeypatch):
    """OpenAI's weights were trained with quick-gelu, which the name of the model alone does not say."""
    import open_clip

    asked = {}

    def create(name, **options):
        asked.update(options, name=name)
        raise RuntimeError("enough")

    monkeypatch.setattr(open_clip, "create_model", create)
    for tag, quick in (("openai", True), ("laion400m_e32", False)):
        with pytest.raises(SettingsError, match="enough"):
            build(ClipSpec(pretrained=tag))
        assert (asked["name"], asked["force_quick_gelu"]) == ("ViT-B-16", quick)
