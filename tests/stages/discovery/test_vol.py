"""VOL's options, and what they make a training read."""

import pytest

from stages.discovery.vol import VolMethod
from stages.errors import SettingsError
from stages.features.store.samplers import RandomClip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"slots": 0}, "vol.slots=0"),
        ({"frames": 0}, "vol.frames=0"),
        ({"clips_per_video": 0}, "vol.clips_per_video=0"),
        ({"half_life": 0}, "vol.half_life=0"),
        ({"strides": ()}, r"vol.strides=\[\]"),
        ({"strides": (1, 0)}, r"vol.strides=\[1, 0\]"),
        ({"decoder": ()}, r"vol.decoder=\[\]"),
        ({"warmup": -1}, "vol.warmup=-1"),
        ({"projection": -1}, "vol.projection=-1"),
        ({"encoder_rate": 0.0}, "vol.encoder_rate=0.0"),
        ({"link_threshold": 1.5}, "vol.link_threshold=1.5"),
        ({"link_threshold": float("nan")}, "vol.link_threshold=nan"),
    ],
)
def test_options_that_can_not_be_are_named(options, said):
    with pytest.raises(SettingsError, match=said):
        VolMethod(**options)


def test_published_defaults():
    method = VolMethod()
    assert (method.slots, method.slot_width, method.frames, method.iterations) == (15, 128, 8, 3)
    assert method.decoder == (1024, 1024, 1024) and method.seed == 287 and method.joint
    assert method.clips("vol") == RandomClip(8, (1, 2, 4, 8), 7, repeat_last=True)
    assert method.fits() == ("vol",) and method.mask_kinds == ("decoder",)
    assert VolMethod(facet="keys").streams == (("base", "keys"),)


def test_how_clips_are_cut_and_linked_keeps_the_model():
    other = VolMethod(strict_clips=True, link_threshold=0, seed=1, masks="attention")
    assert VolMethod().identity(training=True) == other.identity(training=True)
    assert VolMethod().identity() != other.identity()
    assert VolMethod().identity(training=True) != VolMethod(joint=False).identity(training=True)
