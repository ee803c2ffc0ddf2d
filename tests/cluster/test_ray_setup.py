"""Joining what is no cluster, or one that is not there."""

from __future__ import annotations

import socket

import pytest

from cluster import ray_setup
from cluster.resources import ResourcesError
from stages.errors import SettingsError


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1:8265", "ray://127.0.0.1:10001"])
def test_an_address_that_is_none(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(SettingsError, match=f"address {address} can't be used: give auto, or HOST:PORT"):
        ray_setup.connect(address, 1)


def test_nobody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would try for twenty minutes."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port meanwhile
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ResourcesError, match=f"no Ray cluster answers at {address} .*refused"):
            ray_setup.connect(address, 1)
