"""SOLV's options, and what they make a training read."""

import pytest

from stages.discovery.solv import SolvMethod
from stages.errors import SettingsError
from stages.features.store.samplers import Windows


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"frames": 4}, "solv.frames=4"),
        ({"frames": 0}, "solv.frames=0"),
        ({"frames": -1}, "solv.frames=-1"),
        ({"slot_width": 100}, "solv.slot_width=100"),
        ({"drop_ratio": 1.0}, "solv.drop_ratio=1.0"),
        ({"drop_ratio": -0.1}, "solv.drop_ratio=-0.1"),
        ({"slots": 0}, "solv.slots=0"),
        ({"encoder_rate": 0.0}, "solv.encoder_rate=0.0"),
        ({"encoder_rate": float("nan")}, "solv.encoder_rate=nan"),
    ],
)
def test_options_that_can_not_be_are_named(options, said):
    with pytest.raises(SettingsError, match=said):
        SolvMethod(**options)


def test_published_defaults():
    method = SolvMethod()
    assert (method.slots, method.slot_width, method.frames, method.iterations) == (8, 128, 5, 3)
    assert (method.merge_threshold, method.drop_ratio, method.temporal_layers) == (0.12, 0.5, 3)
    assert method.fits() == ("solv",) and method.clips("solv") == Windows(5, centred=True)


@pytest.mark.parametrize(
    ("drop", "streams"),
    [
        ("none", {("base", "keys")}),
        ("after_encoder", {("base", "keys")}),
        ("online", {("base", "keys"), ("base", "pixels")}),
        (
            "premasked",
            {("base", "keys"), ("mask0", "keys"), ("mask0", "kept"), ("mask1", "keys"), ("mask1", "kept")},
        ),
    ],
)
def test_what_a_training_reads(drop, streams):
    method = SolvMethod(facet="keys", token_drop=drop, versions=2)
    assert set(method.streams) == streams and len(method.streams) == len(streams)
    assert method.wants_encoder == (drop == "online")


def test_how_masks_are_chosen_keeps_the_model():
    first, second = SolvMethod(), SolvMethod(masks="attention", always_match=True)
    assert first.mask_kinds == ("decoder", "attention") and second.mask_kinds == ("attention", "decoder")
    assert first.identity(training=True) == second.identity(training=True)
    assert first.identity() != second.identity()
    assert first.identity(training=True) != SolvMethod(merge=False).identity(training=True)
