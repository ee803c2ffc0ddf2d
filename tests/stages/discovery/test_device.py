"""Which device `auto` means."""

from __future__ import annotations

import pytest

from stages.discovery import device


@pytest.mark.parametrize(("there", "found"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, there: bool, found: str) -> None:
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: there)
    assert device.resolve_device("auto") == found
    assert device.resolve_device("cpu") == "cpu" and device.resolve_device("cuda") == "cuda"
