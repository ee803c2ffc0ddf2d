import tarfile
from dataclasses import replace

import numpy as np
import pytest

from stages.decode.spec import DecodeSpec, Geometry
from stages.errors import SettingsError
from stages.features.backbone_spec import BackboneSpec
from stages.features.backbones.base import build
from stages.features.stage import FeaturesStage, upright
from stages.features.views import KEPT, ViewsSpec, kept_patches

DINO = FeaturesStage(BackboneSpec(name="dino_vits16", weights="random"))
ROW = {"video": "v", "frames": 100, "fps": 25.0, "height": 480, "width": 854, "rotation": 0}


def test_kind_and_name():
    assert (DINO.kind, DINO.suffix, DINO.name) == ("features", ".tar", "dino_vits16")
    assert FeaturesStage().name == "patchstats"
    assert FeaturesStage(BackboneSpec(name="my.package:Model")).name == "my.package-model"
    assert FeaturesStage(BackboneSpec(name="vit_small_patch16_224.dino")).name == "dino_vits16"


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": replace(DINO.backbone, seed=1)},
        {"backbone": replace(DINO.backbone, facets=("keys",))},
        {"backbone": replace(DINO.backbone, batch=4)},
        {"decode": DecodeSpec(fps=2.0)},
        {"decode": DecodeSpec(decoder="pyav")},
        {"geometry": Geometry(size=256)},
        {"geometry": Geometry(size=(224, 384))},
        {"views": ViewsSpec(flip=True)},
        {"views": ViewsSpec(photometric=2)},
        {"views": ViewsSpec(masked=2)},
        {"encoding": "int8"},
    ],
)
def test_every_setting_counts(change):
    assert replace(DINO, **change).fingerprint() != DINO.fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        {"geometry": Geometry(size=224)},
        {"geometry": Geometry(size=224, multiple=16)},
        {"backbone": replace(DINO.backbone, layer=11, statistics="imagenet")},
    ],
)
def test_the_same_settings_said_otherwise(change):
    assert replace(DINO, **change).fingerprint() == DINO.fingerprint()


def test_a_weights_file_counts_by_its_content(tmp_path):
    prints = []
    for name, content in (("a.pth", b"1"), ("b.pth", b"1"), ("c.pth", b"2")):
        (tmp_path / name).write_bytes(content)
        spec = replace(DINO.backbone, weights=str(tmp_path / name))
        prints.append(replace(DINO, backbone=spec).fingerprint())
        assert str(tmp_path) not in str(replace(DINO, backbone=spec).identity())
    assert prints[0] == prints[1] != prints[2]


def test_sizes_are_whole_patches():
    assert DINO.frame_geometry() == Geometry(224, 16)
    assert replace(DINO, geometry=Geometry(multiple=3)).frame_geometry().multiple == 48
    dinov2 = FeaturesStage(BackboneSpec(name="dinov2_vits14"), geometry=Geometry((340, 510)))
    assert dinov2.frame_geometry().resolve(480, 854) == (336, 504)
    assert FeaturesStage(BackboneSpec(name="vit_tiny_patch16_224")).frame_geometry() == Geometry(224, 16)


def test_frames_expected():
    assert DINO.estimate(ROW)[0] == 20
    assert replace(DINO, decode=DecodeSpec(fps="all")).estimate(ROW)[0] == 100
    assert replace(DINO, decode=DecodeSpec(stride=7)).estimate(ROW)[0] == 15


def test_sizes_outside_of_the_table_are_guessed_and_said_to_be():
    unknown = FeaturesStage(BackboneSpec(name="vit_tiny_patch16_224"))
    frames, size = unknown.estimate(ROW)
    assert frames == 20 and size > 20 * 14 * 14 * 2 * 768
    assert not unknown.size_known() and DINO.size_known()


def test_rotation_turns_the_size():
    assert upright(ROW) == (480, 854) == upright(ROW | {"rotation": 180})
    assert upright(ROW | {"rotation": 90}) == (854, 480) == upright(ROW | {"rotation": 270})


@pytest.mark.parametrize("encoding", ["fp16", "int8"])
@pytest.mark.parametrize(
    "backbone",
    [
        BackboneSpec(facets=("tokens", "flow")),
        BackboneSpec(name="dino_vits16", weights="random", facets=("tokens", "keys", "cls"), layer=0),
        BackboneSpec(name="dino_resnet50", weights="random", stride=16, stage=1),
    ],
    ids=lambda spec: spec.name,
)
def test_bytes_per_frame_are_those_written(tmp_path, backbone, encoding):
    stage = FeaturesStage(backbone, geometry=Geometry(64), views=ViewsSpec(flip=True), encoding=encoding)
    height, width = stage.frame_geometry().resolve(480, 854)
    found = build(backbone).extract(np.zeros((2, height, width, 3), np.uint8))
    writer = stage.writer(tmp_path / "shard.tar", "s")
    for view in stage.views.names():
        for frame in range(2):
            for facet, values in found.items():
                writer.add("v", frame, 0.0, facet, values[frame], view)
    writer.keep("v")
    written = writer.finish()
    with tarfile.open(written.path) as shard:
        last = shard.getmembers()[-1]
    assert 2 * stage.bytes_per_frame(480, 854) == last.offset_data + -(-last.size // 512) * 512


PRINTS = {
    "47d08403a0c9d295ed2b779caa9efc90e5dd630ab1d45dfbd63145f5c4ed577a": FeaturesStage(),
    "fcfb78f41aa72b8fefa0782c645c64d1f194c9a54fd9f57851a17401e1b9257d": FeaturesStage(
        views=ViewsSpec(True, 2, 5), encoding="int8"
    ),
    "ff9a432685c5ecde283ec02fc7d3605fa5009bb11dcbe140c8079d58cfad59a2": FeaturesStage(
        BackboneSpec("dinov2_vits14", "random", facets=("tokens", "cls")),
        DecodeSpec(fps="all"),
        Geometry((56, 84)),
    ),
}


@pytest.mark.parametrize(("fingerprint", "stage"), PRINTS.items())
def test_caches_made_before_masked_views_and_banks_stay_valid(fingerprint, stage):
    assert stage.fingerprint() == fingerprint
    unused = replace(stage, views=replace(stage.views, masked_ratio=0.25, clip_strides=(3,)))
    assert unused.fingerprint() == fingerprint


def test_settings_of_a_bank_count():
    stage = FeaturesStage(BackboneSpec("videomae_vitt8", "random"))
    views = ViewsSpec(clips=2)
    changed = (ViewsSpec(), views, replace(views, clips=3), replace(views, clip_strides=(1,)))
    prints = {replace(stage, views=v).fingerprint() for v in (*changed, replace(views, seed=1))}
    assert len(prints) == 5
    with pytest.raises(SettingsError, match="dino_vits16 encodes every frame alone.*views.clips=0"):
        replace(DINO, views=views)
    with pytest.raises(SettingsError, match=r"views.clip_strides=\[0\]"):
        ViewsSpec(clip_strides=(0,))


def test_settings_of_masked_views_count():
    views = ViewsSpec(masked=2)
    prints = {
        replace(DINO, views=v).fingerprint()
        for v in (views, replace(views, masked=3), replace(views, masked_ratio=0.25), replace(views, seed=1))
    }
    assert len(prints) == 4


@pytest.mark.parametrize("name", ["patchstats", "dino_resnet50", "my.package:Model"])
def test_backbones_without_patches_to_leave_out_are_refused(name):
    with pytest.raises(SettingsError, match=f"backbone {name} can't leave out patches.*views.masked=0"):
        FeaturesStage(BackboneSpec(name=name, weights="random"), views=ViewsSpec(masked=1))
    with pytest.raises(SettingsError, match="nothing per patch in backbone.facets=cls"):
        FeaturesStage(replace(DINO.backbone, facets=("cls",)), views=ViewsSpec(masked=1))


@pytest.mark.parametrize("encoding", ["fp16", "int8"])
def test_bytes_of_masked_views_and_pixels_are_those_written(tmp_path, encoding):
    backbone = BackboneSpec(name="dino_vits16", weights="random", facets=("tokens", "cls", "pixels"), layer=0)
    views = ViewsSpec(flip=True, masked=2, masked_ratio=0.3)
    stage = FeaturesStage(backbone, geometry=Geometry(48), views=views, encoding=encoding)
    rgb = np.zeros((2, *stage.frame_geometry().resolve(480, 854), 3), np.uint8)
    model = build(backbone)
    writer = stage.writer(tmp_path / "shard.tar", "s")
    for view in views.names():
        if view in views.whole():
            found = model.extract(rgb)
        else:
            patches = np.prod(model.grid(*rgb.shape[1:3]))
            kept = np.stack([kept_patches("v", view, frame, patches, views) for frame in range(2)])
            found = {**model.extract_kept(rgb, kept), KEPT: kept[..., None]}
        for frame in range(2):
            for facet, values in found.items():
                writer.add("v", frame, 0.0, facet, values[frame], view)
    writer.keep("v")
    written = writer.finish()
    with tarfile.open(written.path) as shard:
        last = shard.getmembers()[-1]
    assert 2 * stage.bytes_per_frame(480, 854) == last.offset_data + -(-last.size // 512) * 512


def test_guessed_bytes_know_pixels():
    unknown = FeaturesStage(BackboneSpec(name="vit_tiny_patch16_224", facets=("tokens", "pixels")))
    plain = FeaturesStage(BackboneSpec(name="vit_tiny_patch16_224"))
    more = unknown.bytes_per_frame(224, 224) - plain.bytes_per_frame(224, 224)
    assert 3 * 224 * 224 < more < 3 * 224 * 224 + 2048
