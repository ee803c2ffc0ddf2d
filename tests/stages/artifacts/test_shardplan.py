from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from stages.artifacts import shardplan
from stages.artifacts.layout import ShardLayout
from stages.artifacts.shardplan import Piece


def item(uri, size=10, mtime=1):
    return {"uri": uri, "bytes": size, "mtime": mtime}


def grow(artifact, *items, digests=None, retry=()):
    return shardplan.grow(artifact, shardplan.listed_table(items), (digests or {}).get, set(retry))


def shards(plan):
    found = {}
    for row in plan.to_pylist():
        found.setdefault(row["shard"], []).append(row["uri"])
    return found


def test_the_plan_only_grows(artifact):
    first = grow(artifact, item("a"), item("b"), item("c"))
    assert shards(first) == {"000000": ["a", "b"], "000001": ["c"]}
    second = grow(artifact, item("0"), item("a"), item("b"), item("c"))
    assert second.slice(0, 3) == first
    assert shards(second.slice(3)) == {"000002": ["0"]}
    assert grow(artifact, item("0"), item("a"), item("b"), item("c")) == second
    assert len(shardplan.generations(artifact)) == 2


def test_new_items_are_sorted_whatever_the_listing(artifact):
    assert shards(grow(artifact, item("c"), item("a"), item("b"))) == {"000000": ["a", "b"], "000001": ["c"]}


def test_changed_touched_and_retried_items_get_an_appended_shard(artifact):
    grow(artifact, item("a"), item("b"), item("c"))
    listed = [item("a", size=11), item("b", mtime=2), item("c")]
    plan = grow(artifact, *listed, digests={"b": "d1", "a": "d0"}, retry={"c"})
    added = {row["uri"]: row["known_digest"] for row in plan.to_pylist()[3:]}
    assert added == {"a": None, "b": "d1", "c": None}  # only a file of equal size can have been touched


def test_an_item_is_compared_with_its_latest_entry(artifact):
    grow(artifact, item("a"), item("b"))
    grow(artifact, item("a", size=11), item("b"))
    third = grow(artifact, item("a", size=10), item("b"))
    assert [row["bytes"] for row in third.to_pylist() if row["uri"] == "a"] == [10, 11, 10]
    assert grow(artifact, item("a", size=10), item("b")) == third


def test_gone_items_are_counted(artifact):
    grow(artifact, item("a"), item("b"))
    growth = shardplan.compare(
        shardplan.read_plan(artifact), shardplan.listed_table([item("b")]), {}.get, set()
    )
    assert (growth.gone, growth.kept, bool(growth)) == (1, 1, False)


def test_two_runs_that_grow_the_plan_at_once_agree(artifact):
    listings = [[item(f"{n:02d}") for n in range(k, 20)] for k in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda listed: grow(artifact, *listed), listings))
    plan = shardplan.read_plan(artifact)
    uris = plan["uri"].to_pylist()
    assert sorted(uris) == [f"{n:02d}" for n in range(20)]
    assert all(len(members) <= 2 for members in shards(plan).values())


@given(st.lists(st.integers(0, 500), max_size=40), st.integers(1, 6), st.integers(1, 1200))
def test_pieces_cover_in_order_and_keep_the_layout(sizes, videos, limit):
    cut = shardplan.pieces("000007", sizes, ShardLayout(videos, limit))
    assert [i for piece in cut for i in range(piece.start, piece.stop)] == list(range(len(sizes)))
    for piece in cut:
        part = sizes[piece.start : piece.stop]
        assert 1 <= len(part) <= videos
        assert len(part) == 1 or sum(part) <= limit
    assert len({piece.shard for piece in cut}) == len(cut)


def test_piece_names_carry_their_origin():
    assert shardplan.pieces("000003", [1, 1, 1], ShardLayout(2, 100)) == [
        Piece("000003-00", "000003", 0, 2),
        Piece("000003-01", "000003", 2, 3),
    ]
