"""How often a run asks the store, by kind of request: what is paid for, and waited for."""

from __future__ import annotations

import re
from collections import Counter

from tests.object_stores.conftest import PER_SHARD, VIDEOS, Base
from tests.object_stores.proxy import Request

A_SHARD = {
    "catalog": {"put": 3, "get": 8, "head": 2, "delete": 1},
    "features": {"put": 3, "get": 5, "head": 3, "delete": 1},
}
"""Requests for one shard from the plan to the index. Puts: lease, data, manifest. Gets: the manifest before
and after the lease is taken, attempts at its videos, and whoever reads it. Heads: the manifest before the
commit, and before the shard is handed on. A deletion: the lease."""


def shard_of(request: Request) -> tuple[str, int] | None:
    """Kind and number of the shard that is asked for, or named in a listing's prefix; None for others, and
    for renewals of leases, of which a slow machine makes some."""
    name = request.key or request.query.get("prefix", "")
    if "/leases/" in name and not (request.conditional or request.action == "delete"):
        return None
    found = re.search(r"/(catalog|features)-(\d{6})(-00)?\.", name)
    return (found[1], int(found[2])) if found else None


def test_a_shard_costs_so_many_requests(base: Base) -> None:
    """No listing looks for an object; one more question per shard is a million more for as many shards."""
    asked: dict[tuple[str, int], Counter[str]] = {}
    for request in base.requests:
        if shard := shard_of(request):
            asked.setdefault(shard, Counter())[request.action] += 1
    for number in range(VIDEOS // PER_SHARD):  # the last shard holds a rejected file alone
        assert {kind: dict(asked[kind, number]) for kind in A_SHARD} == A_SHARD, number
