import math

import pytest
import torch

from stages.errors import SettingsError
from stages.features.backbones.video_sizes import VideoVitSizes
from stages.features.backbones.video_vit import VideoVit, position_code, resized_code

SIZES = VideoVitSizes(width=24, depth=2, heads=3, patch=4, native=(6, 2, 3))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = VideoVit(SIZES).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


@pytest.fixture
def video():
    return torch.randn(2, 3, 6, 8, 12, generator=torch.Generator().manual_seed(1))


def test_a_third_of_the_channels_for_time_row_and_column_each():
    """768 = 256 + 256 + 256, in that order (methods sheet 12, check 3)."""
    code = position_code((16, 14, 14), 768).view(16, 14, 14, 3, 256)
    time, row, column = code.unbind(-2)
    assert torch.equal(time, time[:, :1, :1].expand_as(time))
    assert torch.equal(row, row[:1, :, :1].expand_as(row))
    assert torch.equal(column, column[:1, :1].expand_as(column))
    assert torch.equal(time[:14, 0, 0], row[0, :, 0]) and torch.equal(row[0, :, 0], column[0, 0])
    assert code.flatten(3).flatten(0, 2).unique(dim=0).shape[0] == 16 * 14 * 14
    assert time[3, 0, 0, :2].tolist() == pytest.approx([math.sin(3), math.cos(3)])


@torch.inference_mode()
def test_the_code_knows_nothing_of_a_clips_stride(model, video):
    for stride in (1, 2):
        clip = video[:, :, ::stride][:, :, :3]
        patches = model.patch_embed["proj"](clip).flatten(2).transpose(1, 2)
        expected = position_code(SIZES.native, SIZES.width)[: 3 * 2 * 3]
        assert torch.allclose(model.embed(clip) - patches, expected.expand(2, -1, -1), atol=1e-5)


@torch.inference_mode()
def test_a_clip_of_youtube_videos_size():
    """8 frames of 224 x 400 pixels are 2800 tokens (methods sheet 12, check 2)."""
    made = VideoVit(VideoVitSizes(width=6, depth=1, heads=1))
    assert made.grid(224, 400) == (14, 25)
    assert made(torch.zeros(1, 3, 8, 224, 400)).shape == (1, 2800, 6)


def test_each_frame_of_the_code_is_resized_alone():
    native = (3, 4, 4)
    code = position_code(native, 12)
    other = code.clone()
    other[:16] += 1  # the first frame's
    both = [resized_code(c, native, 3, (5, 2)).view(3, 10, 12) for c in (code, other)]
    assert torch.allclose(both[1][0], both[0][0] + 1, atol=1e-5) and torch.equal(both[1][1:], both[0][1:])
    assert torch.equal(resized_code(code, native, 2, (4, 4)), code[:32])


@torch.inference_mode()
def test_every_token_depends_on_the_whole_clip(model, video):
    before = model(video).view(2, 6, 6, 24)
    video[:, :, -1] = 0
    after = model(video).view(2, 6, 6, 24)
    assert ((before - after).abs().amax(dim=(2, 3)) > 1e-3).all()


@torch.inference_mode()
def test_some_tokens_alone(model, video):
    everything = model(video)
    order = torch.stack([torch.randperm(36, generator=torch.Generator().manual_seed(i)) for i in range(2)])
    shuffled = model(video, order)
    assert torch.allclose(shuffled, everything.gather(1, order[..., None].expand(-1, -1, 24)), atol=1e-4)
    few = model(video, order[:, :4])
    assert few.shape == (2, 4, 24)
    assert (few - shuffled[:, :4]).abs().max() > 1e-2


@torch.inference_mode()
def test_only_queries_and_values_have_a_bias(model):
    for block in model.blocks:
        assert not block.attn.k_bias.any()
    biases = {name for name in model.state_dict() if "attn" in name and name.endswith("bias")}
    assert {name.split("attn.")[1] for name in biases} == {"q_bias", "v_bias", "proj.bias"}


@torch.inference_mode()
def test_features_come_before_the_final_norm(model, video):
    normed = VideoVit(SIZES, norm=True).eval()
    normed.load_state_dict(model.state_dict() | {f"norm.{k}": v for k, v in normed.norm.state_dict().items()})
    expected = torch.nn.functional.layer_norm(model(video), (24,), eps=1e-6)
    assert torch.allclose(normed(video), expected, atol=1e-5)


def test_clips_it_can_not_take(model):
    with pytest.raises(SettingsError, match="10x12 pixels are not whole patches of 4x4"):
        model(torch.zeros(1, 3, 2, 10, 12))
    with pytest.raises(SettingsError, match="a clip of 7 frames is longer .* position code of 6"):
        model(torch.zeros(1, 3, 7, 8, 12))
