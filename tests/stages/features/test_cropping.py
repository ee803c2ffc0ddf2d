import numpy as np
import pytest
import torch

from stages.features.cropping import SCALE, crop
from stages.features.views import ViewsSpec, see

SPEC = ViewsSpec(flip=True, crops=2, seed=7)


@pytest.fixture(scope="module")
def ramps():
    """A frame whose colours say where a pixel comes from: row, column."""
    rows, columns = np.mgrid[:64, :64].astype(np.uint8) * 4
    return np.stack([rows, columns, np.full_like(rows, 128)], axis=-1)[None].repeat(2, 0)


def test_views_of_crops_are_stored_after_the_others():
    assert SPEC.names() == ("base", "flip", "crop0", "crop1") and SPEC.cropped() == ("crop0", "crop1")


def test_features_without_crops_keep_their_fingerprint():
    assert ViewsSpec().identity() == {"flip": False, "photometric": 0, "seed": 0}
    assert SPEC.identity() == {"flip": True, "photometric": 0, "seed": 7, "crops": 2}


def test_a_crop_is_most_of_the_frame_and_the_same_for_all_frames(ramps):
    shares, mirrored = [], 0
    for number in range(60):
        seen = crop(ramps, f"video{number}", "crop0", 0).astype(float)
        assert np.array_equal(seen[0], seen[1])
        tall = (seen[0, -8, 32, 0] - seen[0, 8, 32, 0]) / 4 / 48
        wide = (seen[0, 32, -8, 1] - seen[0, 32, 8, 1]) / 4 / 48
        mirrored += wide < 0
        shares.append(tall * abs(wide))
    assert SCALE[0] - 0.03 < min(shares) < 0.94 and 0.96 < max(shares) < SCALE[1] + 0.03
    assert 15 < mirrored < 45


def test_it_depends_on_video_view_and_seed_alone(ramps):
    first = see(ramps, "v", "crop0", SPEC)
    state = torch.get_rng_state()
    assert np.array_equal(see(ramps[:1], "v", "crop0", SPEC)[0], first[0])
    assert torch.equal(torch.get_rng_state(), state)
    others = [see(ramps, "w", "crop0", SPEC), see(ramps, "v", "crop1", SPEC), crop(ramps, "v", "crop0", 8)]
    assert not any(np.array_equal(first, other) for other in others)
