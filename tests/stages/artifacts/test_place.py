from __future__ import annotations

import uuid

import pytest

from stages.artifacts.place import StoreError, Url, place


def test_what_is_gone_when_it_is_looked_at_was_not_created_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that another run gives back at this moment: it is free, and the next try takes it."""
    lease = place(f"memory://{uuid.uuid4().hex}/lease.json")
    assert isinstance(lease, Url)
    lease.put(b"other")
    read = Url.read_bytes
    monkeypatch.setattr(Url, "read_bytes", lambda self: (self.unlink(), read(self))[1])
    assert lease.put_new(b"mine") is False
    assert lease.put_new(b"mine") is True


def test_signed_addresses_are_cut_out_of_what_libraries_say(monkeypatch: pytest.MonkeyPatch) -> None:
    where = place("memory://x/a")
    assert isinstance(where, Url)
    text = "403 for https://me:pw@host.example/x/a?sig=S3CRET&se=2026, ask your administrator"
    with pytest.raises(StoreError) as told:
        where.ask("read", lambda: (_ for _ in ()).throw(PermissionError(text)))
    assert "S3CRET" not in str(told.value) and "pw@" not in str(told.value)
    assert "https://host.example/x/a" in str(told.value) and "administrator" in str(told.value)
