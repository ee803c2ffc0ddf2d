import hashlib
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec
from stages.features.backbones.base import FeatureOverflowError, build
from stages.features.backbones.torch_backbone import STATISTICS, load_model

TINY = "vit_tiny_patch16_224"
GPU = torch.cuda.is_available()


def spec(**fields):
    return BackboneSpec(**({"name": TINY, "weights": "random"} | fields))


def weights_hash(model):
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def plain():
    return build(spec(facets=("tokens", "keys", "queries", "cls")))


@pytest.mark.parametrize("name", [TINY, "resnet10t"])
def test_random_weights_depend_on_their_seed_alone(name):
    hashes = []
    for global_seed, threads in ((1, 1), (2, 2)):
        torch.manual_seed(global_seed)
        torch.set_num_threads(threads)
        state = torch.random.get_rng_state()
        hashes.append(weights_hash(load_model(spec(name=name))[0]))
        assert torch.equal(torch.random.get_rng_state(), state)
    torch.set_num_threads(1)
    assert hashes[0] == hashes[1]
    assert weights_hash(load_model(spec(name=name, seed=1))[0]) != hashes[0]


def test_shapes(plain, frames):
    found = plain.extract(frames)
    assert plain.grid(32, 48) == (2, 3) and plain.weights_digest == ""
    assert {facet: array.shape for facet, array in found.items()} == {
        "tokens": (3, 6, 192),
        "keys": (3, 6, 192),
        "queries": (3, 6, 192),
        "cls": (3, 192),
    }
    assert all(array.dtype == np.float16 for array in found.values())


def test_threads_are_the_backbones_own(frames):
    backbone = build(spec(), threads=1)
    try:
        torch.set_num_threads(2)
        first = backbone.extract(frames)["tokens"]
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        assert backbone.extract(frames)["tokens"].tobytes() == first.tobytes()
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("name", ["auto", *STATISTICS])
def test_statistics(name, frames):
    backbone = build(spec(statistics=name))
    mean, std = STATISTICS["half" if name == "auto" else name]  # timm's tiny ViT was trained with 0.5, 0.5
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).double() / 255
    images = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.inference_mode():
        expected = backbone.encoder(images.float())["tokens"]
    assert np.allclose(backbone.extract(frames)["tokens"], expected, rtol=1e-2, atol=1e-3)


def test_half_precision_is_what_the_spec_says(plain, frames):
    exact, rough = plain.extract(frames)["tokens"], build(spec(precision="bf16")).extract(frames)["tokens"]
    assert not np.array_equal(exact, rough)
    assert np.abs(exact - rough).max() < 0.05 * np.abs(exact).max()
    with pytest.raises(SettingsError, match="fp16 needs a GPU"):
        build(spec(precision="fp16"))


@pytest.mark.skipif(not GPU, reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_on_a_gpu(plain, frames, precision):
    exact = plain.extract(frames)["tokens"]
    backbone = build(spec(precision=precision), "cuda")
    found = backbone.extract(frames)["tokens"]
    assert np.abs(found - exact).max() < (1e-2 if precision == "fp32" else 0.05) * np.abs(exact).max()
    assert backbone.extract(frames)["tokens"].tobytes() == found.tobytes()


def test_auto_takes_what_there_is():
    backbone = build(spec(), "auto")
    assert backbone.device.type == ("cuda" if GPU else "cpu")
    with pytest.raises(SettingsError, match="run.device=tpu-7 is unknown"):
        build(spec(), "tpu-7")


@pytest.mark.skipif(GPU, reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there():
    with pytest.raises(SettingsError, match="no usable GPU"):
        build(spec(), "cuda")


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled(frames):
    """One block only, since compiling takes long."""
    found = build(spec(compile=True, layer=0)).extract(frames)["tokens"]
    exact = build(spec(layer=0)).extract(frames)["tokens"]
    assert np.allclose(found, exact, rtol=1e-2, atol=1e-2 * float(np.abs(exact).max()))


@pytest.mark.parametrize(
    ("value", "words"), [(1e6, "reaches 1e+06, beyond fp16"), (float("nan"), "is not a number")]
)
def test_overflow_never_passes(tmp_path, frames, value, words):
    model, _ = load_model(spec())
    state = model.state_dict()
    state["blocks.11.mlp.fc2.bias"][3] = value
    save_file(state, tmp_path / "large.safetensors")
    backbone = build(spec(weights=str(tmp_path / "large.safetensors")))
    with pytest.raises(FeatureOverflowError) as caught:
        backbone.extract(frames)
    assert words in str(caught.value) and (caught.value.facet, caught.value.position) == ("tokens", 0)


def test_names_nobody_knows():
    with pytest.raises(SettingsError, match=r"dinov2_vits99: neither the table nor timm .*dinov2_vits14"):
        build(spec(name="dinov2_vits99"))
    with pytest.raises(SettingsError, match=r"did you mean .*vit_tiny_patch16_224"):
        build(spec(name="vit_tiny_patch16_225"))
    with pytest.raises(SettingsError, match="no facet keys"):
        build(spec(name="resnet10t", facets=("keys",)))
    with pytest.raises(SettingsError, match="32x40 pixels are not whole patches"):
        build(spec()).extract(np.zeros((1, 32, 40, 3), np.uint8))


class Brightness:
    """A backbone of one's own: one number per quarter of the frame."""

    weights_digest = ""

    def __init__(self, spec, device, threads):
        self.spec = spec

    def grid(self, height, width):
        return 2, 2

    def extract(self, rgb, previous=None):
        b, h, w, _ = rgb.shape
        quarters = rgb.reshape(b, 2, h // 2, 2, w // 2, 3).mean(axis=(2, 4, 5)).reshape(b, 4, 1)
        return {"tokens": (quarters / 255).astype(np.float16)}


def test_a_backbone_of_ones_own(frames):
    backbone = build(BackboneSpec(name=f"{__name__}:Brightness"))
    assert backbone.extract(frames)["tokens"].shape == (3, 4, 1)
    for wrong in (f"{__name__}:Nothing", "no.such.module:Thing"):
        with pytest.raises(SettingsError, match=r"package\.module:Class"):
            build(BackboneSpec(name=wrong))


def test_pixels_are_the_frames(frames):
    found = build(spec(facets=("pixels", "tokens"))).extract(frames)
    assert found["pixels"].dtype == np.uint8
    assert np.array_equal(found["pixels"].reshape(frames.shape), frames)
    plain = build(spec()).extract(frames)
    assert np.array_equal(found["tokens"], plain["tokens"])
    assert build(spec(facets=("pixels",))).extract(frames)["pixels"].shape == (3, 32 * 48, 3)


def test_kept_patches_alone_enter_the_blocks(plain, frames):
    kept = np.array([[0, 2, 3], [1, 2, 5], [0, 4, 5]], np.int16)
    found = plain.extract_kept(frames, kept)
    assert set(found) == {"tokens", "keys", "queries"}
    assert all(values.shape == (3, 3, 192) and values.dtype == np.float16 for values in found.values())
    with torch.inference_mode():
        images = plain.normalised(torch.from_numpy(frames))
        expected = plain.encoder(images, torch.from_numpy(kept.astype(np.int64)))
    for facet, values in found.items():
        assert np.array_equal(values, expected[facet].half().numpy())
    everything = np.tile(np.arange(6, dtype=np.int16), (3, 1))
    assert np.allclose(
        plain.extract_kept(frames, everything)["tokens"], plain.extract(frames)["tokens"], atol=1e-3
    )


def test_a_network_without_patches_keeps_none(frames):
    cnn = build(spec(name="resnet10t"))
    assert not cnn.masks
    with pytest.raises(SettingsError, match="backbone resnet10t can't leave out patches"):
        cnn.extract_kept(np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, 1), np.int16))
