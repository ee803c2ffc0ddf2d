"""The description of a set of clips."""

import dataclasses
import subprocess
import sys

import pytest

from stages.sprites.spec import LEVELS, Knobs, SpritesSpec


def test_levels_give_the_knobs_and_fields_override_them():
    assert SpritesSpec(level="L4").knobs() == LEVELS["L4"]
    assert SpritesSpec(level="L4", pan=(0.0, 0.0), objects=(1, 2)).knobs() == dataclasses.replace(
        LEVELS["L4"], pan=(0.0, 0.0), objects=(1, 2)
    )
    assert {f.name for f in dataclasses.fields(Knobs)} <= {f.name for f in dataclasses.fields(SpritesSpec)}


def test_digest_tells_sets_apart_but_not_their_lengths():
    plain = SpritesSpec()
    assert SpritesSpec(count=5).digest() == plain.digest()
    assert SpritesSpec(pan=LEVELS["L2"].pan).digest() == plain.digest()
    others = [{"seed": 1}, {"size": (64, 66)}, {"frames": 9}, {"fps": 9.0}, {"twins": True}, {"level": "L3"}]
    assert len({SpritesSpec(**change).digest() for change in others} | {plain.digest()}) == len(others) + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": "L5"}, "level"),
        ({"count": 0}, "count"),
        ({"seed": -1}, "seed"),
        ({"frames": 1}, "frames"),
        ({"fps": 0.0}, "fps"),
        ({"size": (63, 64)}, "even"),
        ({"objects": (0, 3)}, "1..12"),
        ({"objects": (3, 13)}, "1..12"),
        ({"objects": (5, 4)}, "1..12"),
        ({"object_size": (0.1, 1.1)}, "object_size"),
        ({"pan": (3.0, 1.0)}, "pan"),
        ({"lighting": 1.0}, "lighting"),
        ({"level": "L0", "shared_palette": 1.0}, "textured"),
        ({"occlusion": "none", "twins": True}, "twins"),
        ({"occlusion": "sometimes"}, "occlusion"),
        ({"objects": (1, 1), "twins": True}, "objects"),
        ({"level": "L1", "parallax": True}, "pan"),
        ({"level": "L0", "distractors": True}, "textured"),
    ],
)
def test_impossible_sets_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SpritesSpec(**change)


def test_plans_stay_light():
    """Listing sprites needs neither numpy-heavy rendering nor an encoder."""
    code = (
        "import sys; import stages.sprites.spec, stages.sprites.files, stages.catalog.listing;"
        "print(sorted({'torch', 'ray', 'av', 'decord', 'PIL', 'timm', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
