"""Clips: reproducible, with exact flow and masks, and each knob does what it says."""

import subprocess
import sys

import numpy as np
import pytest

from stages.sprites.clip import clip
from stages.sprites.palette import COLOURS
from stages.sprites.spec import LEVELS, SpritesSpec

SEEDS = range(6)


def interior(ids, margin=2):
    """Pixels whose whole neighbourhood (2 * margin + 1 wide) has their id, bool (T, H, W)."""
    height, width = ids.shape[1:]
    padded = np.pad(ids.astype(int), ((0, 0), (margin, margin), (margin, margin)), constant_values=-1)
    shifts = [(y, x) for y in range(2 * margin + 1) for x in range(2 * margin + 1)]
    return np.all([padded[:, y : y + height, x : x + width] == ids for y, x in shifts], axis=0)


def correspondences(made, margin=2):
    """(t, y, x) of interior pixels whose target is in the interior of the same id, and the target (y, x)."""
    inner = interior(made.ids, margin)
    height, width = made.ids.shape[1:]
    t, y, x = np.nonzero(inner[:-1] & np.isfinite(made.flow).all(axis=-1))
    to_x = x + made.flow[t, y, x, 0]
    to_y = y + made.flow[t, y, x, 1]
    near_y, near_x = np.rint(to_y).astype(int), np.rint(to_x).astype(int)
    seen = (near_y >= 0) & (near_y < height) & (near_x >= 0) & (near_x < width)
    t, y, x, to_y, to_x, near_y, near_x = (a[seen] for a in (t, y, x, to_y, to_x, near_y, near_x))
    same = (made.ids[t + 1, near_y, near_x] == made.ids[t, y, x]) & inner[t + 1, near_y, near_x]
    return (t[same], y[same], x[same]), (to_y[same], to_x[same])


def bilinear(frames, t, y, x):
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    down, across = (y - top)[:, None], (x - left)[:, None]
    upper = frames[t, top, left] * (1 - across) + frames[t, top, left + 1] * across
    lower = frames[t, top + 1, left] * (1 - across) + frames[t, top + 1, left + 1] * across
    return upper * (1 - down) + lower * down


@pytest.mark.parametrize("level", LEVELS)
def test_same_address_same_pixels(level):
    spec = SpritesSpec(level=level, seed=3)
    first, again, other = clip(spec, 5), clip(spec, 5), clip(spec, 6)
    assert first.rgb.tobytes() == again.rgb.tobytes() and first.flow.tobytes() == again.flow.tobytes()
    assert first.ids.tobytes() == again.ids.tobytes() and first.objects == again.objects
    assert first.rgb.tobytes() != other.rgb.tobytes()
    assert first.rgb.tobytes() != clip(SpritesSpec(level=level, seed=4), 5).rgb.tobytes()


def test_another_process_makes_the_same_pixels():
    code = (
        "import hashlib; from stages.sprites.clip import clip; from stages.sprites.spec import SpritesSpec;"
        "print(hashlib.sha256(clip(SpritesSpec(level='L4'), 2).rgb.tobytes()).hexdigest())"
    )
    found = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in "ab"
    }
    assert len(found) == 1


@pytest.mark.parametrize("level", LEVELS)
def test_shapes_and_ids(level):
    made = clip(SpritesSpec(level=level, size=(48, 80), frames=5), 0)
    assert made.rgb.shape == (5, 48, 80, 3) and made.rgb.dtype == np.uint8
    assert made.ids.shape == (5, 48, 80) and made.ids.dtype == np.uint8
    assert made.flow.shape == (4, 48, 80, 2) and made.flow.dtype == np.float32
    low, high = LEVELS[level].objects
    assert low <= len(made.objects) <= high
    assert [o["id"] for o in made.objects] == list(range(1, len(made.objects) + 1))
    for thing in made.objects:
        assert thing["shape"] in ("disc", "box", "star", "ring", "blob")
        assert set(thing["colours"]) <= set(COLOURS) and thing["colour"] == thing["colours"][0]
        assert thing["pixels"] == [int((frame == thing["id"]).sum()) for frame in made.ids]


KNOBS = {
    "translation": {"spin": 0.0},
    "rotation": {"spin": 20.0},
    "scale": {"scale": 0.3},
    "pan": {"pan": (1.0, 3.0)},
    "parallax": {"pan": (2.0, 3.0), "parallax": True},
    "crossing": {"occlusion": "forced"},
    "visitors": {"enter_leave": True},
    "cut": {"cut": True},
}


@pytest.mark.parametrize("name", KNOBS)
def test_flow_leads_to_the_same_object_and_the_same_texture(name):
    """Warped along the flow, ids agree and colours agree better than along any other flow nearby."""
    errors = {}
    seen = 0
    for seed in SEEDS:
        spec = SpritesSpec(level="L1", seed=seed, object_size=(0.3, 0.4), objects=(2, 4), **KNOBS[name])
        made = clip(spec, 0)
        (t, y, x), (to_y, to_x) = correspondences(made)
        objects = made.ids[t, y, x] > 0
        seen += objects.sum()
        if name == "parallax":  # inside the background the id does not tell the layers apart
            t, y, x, to_y, to_x = (a[objects] for a in (t, y, x, to_y, to_x))
        frames = made.rgb.astype(np.float64)
        for shift in [(0, 0), (0.25, 0), (-0.25, 0), (0, 0.25), (0, -0.25), (1, 0), (0, 1)]:
            found = bilinear(frames, t + 1, to_y + shift[1], to_x + shift[0])
            errors.setdefault(shift, []).append(((found - frames[t, y, x]) ** 2).sum())
    totals = {shift: sum(values) for shift, values in errors.items()}
    exact = totals.pop((0, 0))
    assert seen > 1000
    assert all(exact < other for other in totals.values()), (exact, totals)


def test_flow_follows_every_interior_pixel():
    """Where nothing hides anything, an object's interior pixel lands on the same object."""
    checked = 0
    for seed in SEEDS:
        spec = SpritesSpec(
            level="L2", seed=seed, occlusion="none", object_size=(0.2, 0.25), spin=12.0, scale=0.1
        )
        made = clip(spec, 1)
        t, y, x = np.nonzero((interior(made.ids, 1) & (made.ids > 0))[:-1])
        to = np.rint(np.stack([x, y], 1) + made.flow[t, y, x]).astype(int)
        assert np.array_equal(made.ids[t + 1, to[:, 1], to[:, 0]], made.ids[t, y, x])
        checked += len(t)
    assert checked > 1000


def test_flow_is_a_whole_number_of_pixels_where_a_whole_number_was_moved():
    """A camera that stands still gives a background flow of exactly 0, and identical background pixels."""
    made = clip(SpritesSpec(level="L1"), 0)
    still = (made.ids[:-1] == 0) & (made.ids[1:] == 0)
    assert (made.flow[made.ids[:-1] == 0] == 0).all()
    assert np.array_equal(made.rgb[:-1][still], made.rgb[1:][still])


def test_pan_moves_the_background_and_only_it():
    for seed in SEEDS:
        spec = SpritesSpec(level="L1", seed=seed, pan=(1.0, 3.0))
        made, still = clip(spec, 0), clip(SpritesSpec(level="L1", seed=seed), 0)
        assert np.array_equal(made.ids, still.ids)
        speeds = np.linalg.norm(made.flow[made.ids[:-1] == 0], axis=-1)
        assert (speeds >= 0.99).all() and (speeds <= 3.01).all()
        assert np.array_equal(made.flow[made.ids[:-1] > 0], still.flow[made.ids[:-1] > 0])


def test_parallax_has_two_background_speeds():
    made = clip(SpritesSpec(level="L2", parallax=True, pan=(2.0, 3.0)), 0)
    speeds = np.unique(np.round(np.linalg.norm(made.flow[0][made.ids[0] == 0], axis=-1), 3))
    assert len(speeds) == 2 and np.isclose(speeds[1], 2 * speeds[0], atol=2e-3)


def histogram(colours):
    bins, _ = np.histogramdd(colours.astype(float), bins=4, range=[(0, 256)] * 3)
    return bins / bins.sum()


def overlap_of_colours(spec):
    shares = []
    for index in range(6):
        made = clip(spec, index)
        background = histogram(made.rgb[made.ids == 0])
        objects = histogram(made.rgb[made.ids > 0])
        shares.append(np.minimum(background, objects).sum())
    return float(np.mean(shares))


def test_shared_palette_makes_colour_useless():
    """Objects and background have the same colours about equally often, and else hardly any in common."""
    camouflaged = overlap_of_colours(SpritesSpec(level="L3"))
    distinct = overlap_of_colours(SpritesSpec(level="L1"))
    assert camouflaged > 0.8 and distinct < 0.4, (camouflaged, distinct)


def test_half_a_shared_palette():
    spec = SpritesSpec(level="L3", objects=(4, 4), shared_palette=0.5)
    palettes = [len(thing["colours"]) for thing in clip(spec, 0).objects]
    assert sorted(palettes) == [1, 1, 2, 2]


def test_flat_levels_have_flat_colours():
    made = clip(SpritesSpec(level="L0"), 0)
    for number in range(len(made.objects) + 1):
        assert len(np.unique(made.rgb[made.ids == number], axis=0)) <= 1


def test_twins_look_the_same_and_cross():
    for index in range(8):
        spec = SpritesSpec(level="L1", twins=True, objects=(2, 5), spin=3.0)
        made = clip(spec, index)
        pair = [thing for thing in made.objects if thing["role"] == "twin"]
        assert len(pair) == 2 and pair[0]["twin"] == pair[1]["id"] and pair[1]["twin"] == pair[0]["id"]
        assert all(pair[0][key] == pair[1][key] for key in ("shape", "colours", "radius"))
        middle = (spec.frames - 1) // 2
        hidden = [thing["pixels"][middle] for thing in pair]
        assert min(hidden) == 0  # one hides the other wholly
        alone = clip(SpritesSpec(level="L1", twins=True, objects=(2, 2), spin=3.0), index)
        ends = [alone.objects[k]["pixels"][t] for k in (0, 1) for t in (0, spec.frames - 1)]
        assert min(ends) > 0  # and at both ends both are in sight
        a, b = (centres(alone, thing["id"]) for thing in alone.objects)
        assert np.dot(a[0] - b[0], a[-1] - b[-1]) < 0  # they have changed sides


def centres(made, number):
    """Mean (x, y) of an object's pixels at the first and the last frame."""
    found = []
    for frame in (made.ids[0], made.ids[-1]):
        y, x = np.nonzero(frame == number)
        found.append(np.array([x.mean(), y.mean()]))
    return found


def test_twins_have_the_same_pixels():
    """Far apart, one twin's pixels are the other's, moved (to within the bilinear reading of the texture)."""
    spec = SpritesSpec(
        level="L1", twins=True, objects=(2, 2), spin=0.0, size=(96, 96), frames=16, shared_palette=0.0
    )
    made = clip(spec, 0)
    means = [made.rgb[0][made.ids[0] == thing["id"]].mean(axis=0) for thing in made.objects]
    assert np.abs(means[0] - means[1]).max() < 6


def test_occlusion_none_never_hides_anything():
    for index in range(6):
        spec = SpritesSpec(level="L1", objects=(12, 12), occlusion="none", spin=0.0, frames=12)
        made = clip(spec, index)
        assert len(made.objects) == 12
        for thing in made.objects:
            pixels = np.array(thing["pixels"])
            assert pixels.min() > 0.5 * pixels.max()  # only sub-pixel position changes what is seen


def test_occlusion_forced_hides_something():
    for index in range(6):
        made = clip(SpritesSpec(level="L1", occlusion="forced", objects=(2, 2), spin=0.0), index)
        apart = [max(thing["pixels"][0], thing["pixels"][-1]) for thing in made.objects]
        seen = [min(thing["pixels"]) / most for thing, most in zip(made.objects, apart)]
        assert min(seen) < 0.9
        assert {thing["role"] for thing in made.objects} == {"crossing"}


def test_objects_enter_leave_and_return():
    roles = set()
    for index in range(24):
        made = clip(SpritesSpec(level="L1", enter_leave=True, objects=(1, 3), frames=9), index)
        visitors = [thing for thing in made.objects if thing["role"] != "drifts"]
        assert visitors
        for thing in visitors:
            roles.add(thing["role"])
            gone = {"enters": 0, "leaves": 8, "returns": 4}[thing["role"]]
            assert thing["pixels"][gone] == 0
        alone = clip(SpritesSpec(level="L1", enter_leave=True, objects=(1, 1), frames=9), index).objects[0]
        assert max(alone["pixels"]) > 0
        if alone["role"] == "returns":
            assert max(alone["pixels"][:4]) > 0 and max(alone["pixels"][5:]) > 0
    assert roles == {"enters", "leaves", "returns"}


def test_bounce_keeps_objects_in_view():
    kept = clip(SpritesSpec(level="L1", objects=(1, 1), frames=60), 0).objects[0]["pixels"]
    assert min(kept) > 0
    gone = clip(SpritesSpec(level="L1", objects=(1, 1), frames=60, bounce=False), 0).objects[0]["pixels"]
    assert min(gone) == 0


@pytest.mark.parametrize("count", [1, 2, 7, 12])
def test_number_of_objects(count):
    made = clip(SpritesSpec(level="L1", objects=(count, count), occlusion="none"), 0)
    assert len(made.objects) == count
    assert set(np.unique(made.ids)) == set(range(count + 1))


def test_numbers_of_objects_vary_over_the_whole_range():
    spec = SpritesSpec(level="L0", objects=(1, 12), size=(16, 16), frames=2)
    assert {len(clip(spec, index).objects) for index in range(120)} == set(range(1, 13))


def test_sizes_and_speeds_keep_to_their_limits():
    spec = SpritesSpec(level="L1", object_size=(0.2, 0.3), speed=(1.0, 2.0), spin=0.0, frames=4)
    for index in range(6):
        made = clip(spec, index)
        for thing in made.objects:
            assert 0.2 <= 2 * thing["radius"] / 64 <= 0.3
            speeds = np.linalg.norm(made.flow[made.ids[:-1] == thing["id"]], axis=-1)
            assert (speeds <= 2.01).all()


def test_scale_changes_size():
    still = clip(
        SpritesSpec(level="L1", objects=(1, 1), spin=0.0, frames=16, object_size=(0.4, 0.4)), 3
    ).objects[0]
    grows = clip(
        SpritesSpec(level="L1", objects=(1, 1), spin=0.0, frames=16, object_size=(0.4, 0.4), scale=0.5), 3
    ).objects[0]
    assert max(grows["pixels"]) / min(grows["pixels"]) > 1.3 > max(still["pixels"]) / min(still["pixels"])


def test_lighting_drifts_and_leaves_geometry_alone():
    made, plain = (
        clip(SpritesSpec(level="L1", lighting=0.4, frames=16), 0),
        clip(SpritesSpec(level="L1", frames=16), 0),
    )
    assert np.array_equal(made.ids, plain.ids) and np.array_equal(made.flow, plain.flow)
    ratio = made.rgb.mean(axis=(1, 2, 3)) / plain.rgb.mean(axis=(1, 2, 3))
    assert ratio.max() > 1.15 and ratio.min() < 0.85


def test_motion_blur_smooths_and_leaves_geometry_alone():
    made, plain = (clip(SpritesSpec(level="L2", pan=(3.0, 3.0), motion_blur=b), 0) for b in (1.0, 0.0))
    assert np.array_equal(made.ids, plain.ids) and np.array_equal(made.flow, plain.flow)

    def sharpness(c):
        return sum(np.abs(np.diff(c.rgb.astype(float), axis=axis)).mean() for axis in (1, 2))

    assert sharpness(made) < 0.9 * sharpness(plain)


def test_distractors_change_background_pixels_once():
    made, plain = (clip(SpritesSpec(level="L1", distractors=d), 1) for d in (True, False))
    assert np.array_equal(made.ids, plain.ids) and np.array_equal(made.flow, plain.flow)
    differs = (made.rgb != plain.rgb).any(axis=-1)
    assert not differs[:4].any() and all(20 < frame.sum() < 64 * 64 / 4 for frame in differs[4:])
    assert (made.ids[differs] == 0).all()


def test_a_cut_replaces_the_scene():
    made = clip(SpritesSpec(level="L1", cut=True, frames=9), 0)
    assert np.isnan(made.flow[3]).all() and np.isfinite(np.delete(made.flow, 3, axis=0)).all()
    before, after = set(np.unique(made.ids[:4])) - {0}, set(np.unique(made.ids[4:])) - {0}
    assert before and after and not before & after
    assert before | after <= {thing["id"] for thing in made.objects}
    assert all(len(thing["pixels"]) == 9 for thing in made.objects)


def test_knobs_do_not_disturb_each_other():
    """A knob about looks leaves paths alone."""
    plain = clip(SpritesSpec(level="L1"), 4)
    for knob in ({"shared_palette": 1.0}, {"textured": False}, {"lighting": 0.2}, {"pan": (2.0, 2.0)}):
        assert np.array_equal(clip(SpritesSpec(level="L1", **knob), 4).ids, plain.ids)


def test_negative_index():
    with pytest.raises(ValueError, match="negative"):
        clip(SpritesSpec(), -1)
