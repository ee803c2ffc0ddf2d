from __future__ import annotations

import pytest

from stages.errors import SettingsError
from stages.learning.spec import TrainSpec


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0),
        ("steps", 0),
        ("batch", 0),
        ("rate", 0.0),
        ("clip", -1.0),
        ("hold_out", 1.0),
        ("hold_out", -0.1),
    ],
)
def test_what_can_not_be_is_refused_by_name(setting, value):
    with pytest.raises(SettingsError, match=f"train.{setting}={value}"):
        TrainSpec(**{setting: value})


def test_defaults_are_possible():
    spec = TrainSpec()
    assert spec.steps is None and spec.epochs > 0
