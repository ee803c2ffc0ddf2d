import numpy as np
import pytest
import torch

from stages.errors import SettingsError
from stages.labeling.clip_model import load_clip
from stages.labeling.clip_spec import ClipSpec
from stages.labeling.sprites_clip import (
    BACKGROUND,
    PAIRS,
    render_crops,
    save_sprites_clip,
    train_sprites_clip,
)
from stages.labeling.sprites_clip_spec import SpritesClipSpec

FEW = SpritesClipSpec(clips=110, seed=1, steps=3, rounds=1)


@pytest.fixture(scope="module")
def trained():
    said = []
    model, accuracy = train_sprites_clip(FEW, said.append)
    return model, accuracy, said


def test_a_few_steps(trained):
    model, accuracy, said = trained
    assert set(accuracy) == {"colour", "shape", "pair", "background"}
    assert accuracy["colour"].chance == 1 / 17 and accuracy["shape"].chance == 1 / 5
    assert accuracy["pair"].chance == 1 / 85
    assert all(0 <= found.right <= 1 and found.majority >= found.chance for found in accuracy.values())
    assert said[0]["step"] == 0
    assert not model.model.training and not any(p.requires_grad for p in model.parameters())
    assert model.truncated([f"a photo of a {name}" for name in (*PAIRS, BACKGROUND)]) == ()


def test_kept_in_open_clips_layout(trained, tmp_path):
    model = trained[0]
    save_sprites_clip(model, tmp_path)
    again = load_clip(ClipSpec(model=str(tmp_path)))
    prompts, images = ["a red star", "a photo of a cat"], torch.rand(2, 3, 32, 32)
    assert torch.equal(again.text_features(prompts), model.text_features(prompts))
    assert torch.equal(again.image_embedding(images), model.image_embedding(images))


def test_crops_show_what_they_are_called():
    """On flat clips tight crops are mostly of the colour that their names say."""
    from stages.sprites.palette import COLOURS

    spec = SpritesClipSpec(levels=("L0",))
    crops = render_crops(spec, range(6), jitter=False)
    assert 0 < (crops.names == len(PAIRS)).sum() < len(crops.names)
    values = np.array(list(COLOURS.values()))
    right = []
    for image, name in zip(crops.images, crops.names, strict=True):
        if name < len(PAIRS):
            pixels = image.flatten(1).T.numpy()
            nearest = np.abs(pixels[:, None].astype(int) - values).sum(-1).argmin(1)
            share = (nearest == name // 5).mean()
            right.append(share)
    assert np.mean(right) > 0.5 and min(right) > 0.15
    again = render_crops(spec, range(6), jitter=False)
    assert torch.equal(crops.images, again.images)


def test_too_few_clips_and_odd_numbers():
    with pytest.raises(SettingsError, match=r"clip_sprites.clips=8: \d+ objects such as .* render more"):
        train_sprites_clip(SpritesClipSpec(clips=8, steps=1))
    with pytest.raises(SettingsError, match="clip_sprites.steps=0: at least 1"):
        SpritesClipSpec(steps=0)
