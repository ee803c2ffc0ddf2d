import argparse
import pickle

import pytest
import torch
from safetensors.torch import save_file

from stages.errors import SettingsError
from stages.features.backbones.video_sizes import BlockSizes, VideoVitSizes
from stages.features.backbones.video_vit import VideoVit, position_code
from stages.features.backbones.video_weights import load_video_weights
from stages.pretraining.masked_video import MaskedVideo

SIZES = VideoVitSizes(width=12, depth=2, heads=2, patch=4, native=(4, 2, 2))


def create(seed):
    torch.manual_seed(seed)
    return VideoVit(SIZES)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


@pytest.fixture(scope="module")
def released():
    return create(0).state_dict()


@pytest.fixture(scope="module")
def pretrained():
    """A whole pre-training model's weights; its encoder has a final norm."""
    torch.manual_seed(3)
    return MaskedVideo(SIZES, BlockSizes(6, 1, 2)).state_dict()


def test_the_same_weights_in_every_wrapping(tmp_path, released):
    head = {
        "fc_norm.weight": torch.ones(12),
        "fc_norm.bias": torch.zeros(12),
        "head.weight": torch.ones(9, 12),
    }
    decoder = {"mask_token": torch.zeros(1, 1, 6), "decoder.blocks.0.norm1.weight": torch.ones(6)}
    decoder |= {"encoder_to_decoder.weight": torch.ones(6, 12), "encoder.norm.weight": torch.ones(12)}
    files = {
        "plain.pth": released,
        "pretrained.pth": {
            "model": prefixed("encoder.", released) | decoder,
            "args": argparse.Namespace(lr=1e-3),
            "epoch": 799,
        },
        "deepspeed.pt": {"module": released | head, "global_steps": 5},
        "parallel.pth": {"state_dict": prefixed("module.", released | head)},
        "positions.pth": {"model": released | {"pos_embed": position_code(SIZES.native, 12)[None]}},
    }
    for name, content in files.items():
        torch.save(content, tmp_path / name)
    save_file(prefixed("backbone.", released), tmp_path / "plain.safetensors")
    for name in (*files, "plain.safetensors"):
        model = create(1)
        assert len(load_video_weights(model, tmp_path / name)) == 64
        assert same(model.state_dict(), released), name


def test_a_pretraining_made_here(tmp_path, pretrained):
    save_file(pretrained, tmp_path / "pretraining.safetensors")
    model = create(1)
    load_video_weights(model, tmp_path / "pretraining.safetensors")
    encoder = {k.removeprefix("encoder."): v for k, v in pretrained.items() if k.startswith("encoder.")}
    assert same(model.state_dict(), {k: v for k, v in encoder.items() if not k.startswith("norm.")})


def test_patches_of_two_frames(tmp_path, released):
    patches = released["patch_embed.proj.weight"].expand(-1, -1, 2, -1, -1).clone()
    torch.save({"module": released | {"patch_embed.proj.weight": patches}}, tmp_path / "released.pth")
    with pytest.raises(SettingsError, match=r"released\.pth has patches of 2 frames each"):
        load_video_weights(create(1), tmp_path / "released.pth")


@pytest.mark.parametrize("tokens", [8, 16])
def test_another_position_code(tmp_path, released, tokens):
    torch.save(released | {"pos_embed": torch.rand(1, tokens, 12)}, tmp_path / "flat.pth")
    with pytest.raises(SettingsError, match=r"flat\.pth was trained with another position code .* 4 x 2 x 2"):
        load_video_weights(create(1), tmp_path / "flat.pth")


def test_nothing_missing_nothing_left_over(tmp_path, released):
    model = create(1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    wrong = dict(released)
    wrong["blocks.1.attn.qkv.bias"] = wrong.pop("blocks.1.attn.q_bias")
    wrong["patch_embed.proj.weight"] = torch.zeros(12, 3, 1, 8, 8)
    torch.save({"module": wrong}, tmp_path / "this.pth")
    with pytest.raises(SettingsError) as caught:
        load_video_weights(model, tmp_path / "this.pth")
    for part in (
        "this.pth",
        "1 missing: blocks.1.attn.q_bias",
        "1 unexpected: blocks.1.attn.qkv.bias",
        "of another shape: patch_embed.proj.weight",
    ):
        assert part in str(caught.value)
    assert same(model.state_dict(), before)


class Payload:
    """Unpickling it creates the file that it was given."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_files_that_can_not_be_read(tmp_path, released):
    ran = tmp_path / "ran"
    torch.save({"module": released, "extra": Payload(ran)}, tmp_path / "code.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps({"module": Payload(ran)}, protocol=2))
    for name in ("code", "bare"):
        with pytest.raises(SettingsError, match=rf"{name}\.pth is refused: .*could run code"):
            load_video_weights(create(1), tmp_path / f"{name}.pth")
    assert not ran.exists()
    torch.save({"module": released}, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    torch.save({"module": {"epoch": 3}}, tmp_path / "empty.pth")
    for name, message in (("cut", "can't be read"), ("empty", "no state_dict"), ("absent", "can't be read")):
        with pytest.raises(SettingsError, match=rf"{name}\.pth .*{message}"):
            load_video_weights(create(1), tmp_path / f"{name}.pth")
