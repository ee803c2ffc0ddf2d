"""VOL's options, and what they make a training read."""

import pytest

from stages.discovery.vol import VolMethod
from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec
from stages.features.store.samplers import BankClip, RandomClip
from stages.features.views import ViewsSpec


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


def test_where_clips_come_from():
    """The default changes no model that was made before."""
    assert "clips_from" not in VolMethod().identity()["options"]
    bank, online = VolMethod(clips_from="bank"), VolMethod(clips_from="online")
    assert bank.identity(training=True)["options"]["clips_from"] == "bank"
    assert bank.streams == (("bank", "tokens"),) and bank.clips("vol") == BankClip(8, 7)
    assert online.streams == (("base", "pixels"),) and online.facets == ("tokens", "pixels")
    assert online.wants_encoder and online.clips("vol") == VolMethod().clips("vol")


VIDEO = BackboneSpec("videomae_vitb16", "random")


@pytest.mark.parametrize(
    ("options", "backbone", "clips", "said"),
    [
        ({}, VIDEO, 8, "vol.clips_from=base: .* runs of 8 frames.*vol.clips_from=bank --set views.clips=8"),
        ({"clips_from": "bank"}, VIDEO, 0, "no bank of clips; set views.clips=8"),
        ({"clips_from": "bank", "frames": 4}, VIDEO, 8, "vol.frames=4: .* set vol.frames=8"),
        ({"clips_from": "online", "frames": 4}, VIDEO, 0, "vol.frames=4: .* set vol.frames=8"),
        ({"clips_from": "online"}, BackboneSpec(), 0, "patchstats encodes every frame alone"),
    ],
)  # fmt: skip
def test_features_that_do_not_suit_are_refused(options, backbone, clips, said):
    with pytest.raises(SettingsError, match=said):
        VolMethod(**options).check(backbone, ViewsSpec(clips=clips))


def test_features_that_suit():
    VolMethod().check(BackboneSpec(), ViewsSpec())
    VolMethod(clips_from="bank").check(VIDEO, ViewsSpec(clips=8))
    VolMethod(clips_from="online").check(VIDEO, ViewsSpec())
    VolMethod(clips_from="bank").check(BackboneSpec("mine:Clips"), ViewsSpec(clips=1))
