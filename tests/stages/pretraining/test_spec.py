import pytest

from configs.compose import compose
from stages.errors import SettingsError
from stages.features.backbones.video_sizes import VideoVitSizes
from stages.pretraining.masked_video import DECODER
from stages.pretraining.pretrain_stage import PretrainStage
from stages.pretraining.schedule import EPOCHS, peak_rate
from stages.pretraining.spec import PretrainSpec


def test_the_recipe_is_the_published_training():
    config = compose("pretrain_videomae")
    spec, train = config.pretrain, config.train
    assert spec.sizes() == VideoVitSizes() and spec.decoder() == DECODER
    assert (spec.frames, spec.stride, spec.size, spec.masked) == (16, 2, 224, 0.9)
    assert (train.batch, train.epochs, train.rate) == (512, EPOCHS, peak_rate(512))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "dino_vits16"}, "pretrain.model=dino_vits16: choose among videomae_vitb16"),
        ({"frames": 17}, "pretrain.frames=17: videomae_vitb16 takes 1 to 16 frames"),
        ({"stride": 0}, "pretrain.stride=0"),
        ({"size": 100}, "pretrain.size=100: give a multiple of videomae_vitb16's patches of 16"),
        ({"short_side": 0}, "pretrain.short_side=0"),
        ({"crop_scales": (1.5,)}, r"pretrain.crop_scales=\[1.5\]"),
        ({"masked": 1.0}, "pretrain.masked=1.0 leaves nothing hidden or nothing seen"),
        ({"warmup": 1.0}, "pretrain.warmup=1.0"),
        ({"decoder_heads": 7}, "choose a multiple of the heads"),
    ],
)
def test_options_that_can_not_be_are_named(options, said):
    with pytest.raises(SettingsError, match=said):
        PretrainSpec(**options)


@pytest.mark.parametrize(
    "setting", ["train.hold_out=0.1", "train.validate_every=5", "train.exclude_annotated=true"]
)
def test_what_pre_training_does_not_know_is_refused(setting):
    config = compose("pretrain_videomae", assignments=[setting])
    with pytest.raises(SettingsError, match=f"{setting.split('=')[0]}: pre-training uses all videos"):
        PretrainStage(config.pretrain, config.train)


def test_the_identity_has_what_is_trained_and_not_how_fast():
    stage = PretrainStage(PretrainSpec(stride=4))
    assert stage.decode.stride == 4 and stage.name == "videomae_vitb16"
    assert stage.fingerprint() != PretrainStage().fingerprint()
    fast = compose("pretrain_videomae", assignments=["run.decoders=8"])
    slow = compose("pretrain_videomae")
    assert PretrainStage(fast.pretrain).fingerprint() == PretrainStage(slow.pretrain).fingerprint()
