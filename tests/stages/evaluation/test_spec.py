from __future__ import annotations

import pytest

from configs.compose import compose
from stages.discovery.registry import METHODS
from stages.errors import SettingsError
from stages.evaluation.spec import MetricsSpec
from stages.metrics.protocols import PROTOCOLS


def test_defaults_exist() -> None:
    spec = MetricsSpec()
    assert set(spec.protocols) <= set(PROTOCOLS)
    assert set(spec.baselines) <= set(METHODS)
    assert spec.protocols and spec.baselines and not spec.id_gap_bug


def test_an_unknown_protocol_is_named_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError, match="there is no protocol 'miou'; there are miou@solv, fgari@solv"):
        MetricsSpec(protocols=("fgari@video", "miou"))


def test_an_unknown_trivial_row_is_named() -> None:
    with pytest.raises(SettingsError, match="metrics.baselines: there is no method 'random'"):
        MetricsSpec(baselines=("one", "random"))


def test_the_section_is_checked_when_settings_are_composed() -> None:
    with pytest.raises(SettingsError, match="there is no protocol 'miou'"):
        compose("solv_davis", assignments=["data.root=/videos", "metrics.protocols=[miou]"])
