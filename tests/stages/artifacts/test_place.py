from __future__ import annotations

import pytest

from stages.artifacts.place import StoreError, Url, place


def test_signed_addresses_are_cut_out_of_what_libraries_say(monkeypatch: pytest.MonkeyPatch) -> None:
    where = place("memory://x/a")
    assert isinstance(where, Url)
    text = "403 for https://me:pw@host.example/x/a?sig=S3CRET&se=2026, ask your administrator"
    with pytest.raises(StoreError) as told:
        where.ask("read", lambda: (_ for _ in ()).throw(PermissionError(text)))
    assert "S3CRET" not in str(told.value) and "pw@" not in str(told.value)
    assert "https://host.example/x/a" in str(told.value) and "administrator" in str(told.value)
