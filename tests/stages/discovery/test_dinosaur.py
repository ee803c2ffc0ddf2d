"""DINOSAUR's options."""

import pytest

from stages.discovery.dinosaur import DinosaurMethod
from stages.errors import SettingsError
from stages.features.store.samplers import RandomClip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"slots": 0}, "dinosaur.slots=0"),
        ({"heads": 0}, "dinosaur.heads=0"),
        ({"decoder": (0,)}, r"dinosaur.decoder=\[0\]"),
        ({"link_threshold": -0.1}, "dinosaur.link_threshold=-0.1"),
    ],
)
def test_options_that_can_not_be_are_named(options, said):
    with pytest.raises(SettingsError, match=said):
        DinosaurMethod(**options)


def test_single_frames_are_read():
    assert DinosaurMethod().clips("dinosaur") == RandomClip(1)
    assert DinosaurMethod(facet="keys").streams == (("base", "keys"),)


def test_which_masks_come_first_keeps_the_model():
    first, second = DinosaurMethod(), DinosaurMethod(masks="attention", link_threshold=0.5, seed=3)
    assert first.mask_kinds == ("decoder", "attention") and second.mask_kinds == ("attention", "decoder")
    assert first.identity(training=True) == second.identity(training=True)
    assert first.identity(training=True) != DinosaurMethod(autoregressive=True).identity(training=True)
