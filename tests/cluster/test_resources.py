"""What a run may count on, and for how long it waits for it."""

from __future__ import annotations

import pytest

from cluster.resources import nodes_patience
from stages.errors import SettingsError


def test_a_setting_comes_before_the_clusters_own_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUBEFLOW_NODES_S", raising=False)
    assert (nodes_patience(None), nodes_patience(0.0), nodes_patience(5.0)) == (0, 0, 5)
    monkeypatch.setenv("TUBEFLOW_NODES_S", "1800")
    assert (nodes_patience(None), nodes_patience(0.0), nodes_patience(5.0)) == (1800, 0, 5)


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_no_number_of_seconds(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUBEFLOW_NODES_S", text)
    with pytest.raises(SettingsError, match=f"TUBEFLOW_NODES_S={text}: must be a number of seconds"):
        nodes_patience(None)
    with pytest.raises(SettingsError, match=r"run.nodes_s=-1.0: must be"):
        nodes_patience(-1.0)
