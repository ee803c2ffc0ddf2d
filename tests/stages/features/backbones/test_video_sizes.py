import pytest

from stages.errors import SettingsError
from stages.features.backbones.video_sizes import BlockSizes, VideoVitSizes
from stages.stage import canonical


def test_defaults_are_those_of_a_vit_b():
    assert canonical(VideoVitSizes()) == {
        "width": 768,
        "depth": 12,
        "heads": 12,
        "patch": 16,
        "native": [16, 14, 14],
    }
    assert VideoVitSizes(native=[4, 2, 2]) == VideoVitSizes(native=(4, 2, 2))  # as YAML gives it


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 32, "heads": 3}, "width=32 .* heads=3: choose a multiple"),
        ({"width": 2, "heads": 1}, "width=2 .* 3 or more"),
        ({"depth": 0}, "depth=0 .* at least 1"),
        ({"patch": 0}, "patch=0 .* at least 1"),
        ({"native": (16, 0, 14)}, r"native=\(16, 0, 14\) .* at least 1"),
        ({"native": (14, 14)}, r"native=\[14, 14\] .*: give frames, rows and columns"),
    ],
)
def test_sizes_that_can_not_be(options, message):
    with pytest.raises(SettingsError, match=message):
        VideoVitSizes(**options)


def test_a_stack_of_blocks_alone():
    with pytest.raises(SettingsError, match="heads=0"):
        BlockSizes(12, 1, 0)
