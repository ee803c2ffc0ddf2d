import numpy as np
import pytest

from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec, describe
from stages.features.backbones.base import build

PARTS = ("rgb", "position", "texture", "flow")


def stats(*facets, **fields):
    return build(BackboneSpec(facets=facets or ("tokens",), **fields))


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (7, 32, 48, 3), dtype=np.uint8)


@pytest.mark.parametrize("side", [4, 8, 16])
def test_shapes_are_those_described(noise, side):
    spec = BackboneSpec(facets=("tokens", *PARTS), stride=side)
    found, description = build(spec).extract(noise), describe(spec)
    assert build(spec).grid(32, 48) == description.grid(32, 48)
    for facet in spec.facets:
        assert found[facet].shape == (7, *description.shape(facet, 32, 48))
        assert found[facet].dtype == np.float16
    assert np.array_equal(found["tokens"], np.concatenate([found[part] for part in PARTS], axis=-1))


def test_mean_colour_and_position(noise):
    found = stats("rgb", "position").extract(noise)
    patch = noise[3, 8:16, 40:48].reshape(-1, 3).mean(axis=0) / 255
    token = 1 * 6 + 5
    assert np.allclose(found["rgb"][3, token], patch, atol=1e-3)
    assert np.allclose(found["position"][3, token], [1.5 / 4, 5.5 / 6], atol=1e-3)


def test_texture_tells_directions():
    """Channels: cosines (0,1) (1,0) (1,1) (0,2) (2,0), then mean vertical and horizontal difference."""
    wave = np.round(127 + 100 * np.cos(np.pi * (np.arange(32) + 0.5) / 8)).astype(np.uint8)
    standing = np.broadcast_to(wave[None, :, None], (32, 32, 3))
    found = np.abs(stats("texture").extract(np.stack([standing, standing.swapaxes(0, 1)]))["texture"])
    assert (found[0][:, 0] > 0.5).all() and (found[0][:, 1:5] < 0.05).all()
    assert (found[1][:, 1] > 0.5).all() and (found[1][:, [0, 2, 3, 4]] < 0.05).all()
    assert (found[0][:, 5] == 0).all() and (found[0][:, 6] > 0.1).all()
    vertical, horizontal = found[1][:, 5].reshape(4, 4), found[0][:, 6].reshape(4, 4)
    assert np.array_equal(vertical, horizontal.T) and (found[1][:, 6] == 0).all()


def moving_square(steps):
    rng = np.random.default_rng(1)
    ground, square = (rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((64, 96), (24, 24)))
    frames = []
    for dy, dx in steps:
        frame = ground.copy()
        frame[16 + dy : 40 + dy, 32 + dx : 56 + dx] = square
        frames.append(frame)
    return np.stack(frames)


def test_motion_of_a_square():
    flow = stats("flow").extract(moving_square([(0, 0), (2, 4), (4, 8), (4, 8)]))["flow"].reshape(4, 8, 12, 2)
    inside = (slice(3, 4), slice(5, 6))
    for frame in (0, 1, 2):  # the first frame has the motion that leads to the second
        assert np.array_equal(flow[frame][inside].ravel(), [2 / 8, 4 / 8])
        assert not flow[frame][6:].any() and not flow[frame][:, :3].any()
    assert not flow[3].any()


def test_a_single_frame_does_not_move(noise):
    assert not stats("flow").extract(noise[:1])["flow"].any()


def test_batches_leave_no_trace(noise):
    backbone = stats()
    whole = backbone.extract(noise)["tokens"]
    split = [
        backbone.extract(noise[:3]),
        backbone.extract(noise[3:4], noise[2]),
        backbone.extract(noise[4:], noise[3]),
    ]
    assert np.concatenate([part["tokens"] for part in split]).tobytes() == whole.tobytes()


def test_frames_must_be_whole_patches():
    with pytest.raises(SettingsError, match="30x48 pixels are not whole patches"):
        stats().extract(np.zeros((2, 30, 48, 3), np.uint8))


def test_black_and_white_are_finite():
    frames = np.concatenate([np.zeros((2, 16, 16, 3), np.uint8), np.full((2, 16, 16, 3), 255, np.uint8)])
    assert np.isfinite(stats().extract(frames)["tokens"]).all()
