"""Networks and stores that fail now and then: the run goes on, and the bytes are those of a quiet day."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from stages.features.store.reader import CorruptShardError, FeatureStore
from tests import cli
from tests.object_stores import faults
from tests.object_stores.conftest import FRAMES, SHARDS, VIDEOS, Base, Command
from tests.object_stores.content import Content
from tests.object_stores.proxy import Proxy, Request, Rule


def on(*actions: str) -> Callable[[Request], bool]:
    """Requests of these actions."""
    return lambda request: request.action in actions


def complete(content: Content, base: Base) -> None:
    """Everything is there, once, as an undisturbed run leaves it."""
    assert content.digests() == base.content.digests()
    stages = content.latest_run()["stages"]
    assert (stages["catalog"]["shards"], stages["features"]["shards"]) == (SHARDS, SHARDS)
    assert not [name for name in content.names() if name.endswith(".tmp")]


def test_a_store_that_stumbles_is_asked_again(
    command: Command, url: str, proxy: Proxy, content: Content, base: Base
) -> None:
    """Throttling, errors, broken connections before and after the fact, and torn answers, all in one run."""
    proxy.rules += [
        Rule(faults.SLOW_DOWN, every=40),
        Rule(faults.INTERNAL, on("put", "list"), every=30),
        Rule(faults.reset, every=17),
        Rule(faults.lost_answer, on("put"), every=6),
        Rule(faults.cut, on("get"), every=4),
    ]
    cli.run(*command(url))
    assert all(rule.met > 1 for rule in proxy.rules)
    proxy.rules.clear()
    complete(content, base)


def test_an_answer_that_never_comes_is_not_waited_for(
    command: Command, url: str, proxy: Proxy, content: Content, base: Base
) -> None:
    proxy.rules.append(Rule(faults.hang(60), on("put"), every=9, times=2))
    # as a user would set it, where the default of 15 s is too long for a test
    cli.run(*command(url), FSSPEC_S3='{"config_kwargs": {"read_timeout": 1}}')
    assert proxy.rules[0].met == 2
    complete(content, base)


def test_an_old_store_whose_listings_lag_behind_loses_nothing(
    command: Command, url: str, proxy: Proxy, content: Content, base: Base
) -> None:
    """Whatever was written in the last minute is in no listing, and conditional PUTs are not known."""

    def fresh(key: str) -> bool:
        now = time.monotonic()
        return any(r.key == key and now - r.at < 60 for r in proxy.seen("put") if r.status == 200)

    proxy.rules.append(Rule(faults.listing_without(fresh), on("list")))
    proxy.rules.append(Rule(faults.NOT_IMPLEMENTED, lambda request: request.conditional))
    done = cli.run_json(*command(url))
    assert done["totals"]["features"]["done"] == VIDEOS
    assert proxy.rules[1].met > 2 * SHARDS, "plan and leases"
    complete(content, base)


def test_a_listing_that_shows_what_is_not_there_hides_nothing(
    command: Command, url: str, proxy: Proxy, content: Content, base: Base
) -> None:
    """Manifests and shards that were removed long ago, in every listing: only their objects count."""
    prefix = content.root.partition("/")[2]
    ghosts = base.content.names(r"(catalog|features)/[^/]+/(manifest|shards)/\w+-000001.*")
    assert len(ghosts) == 4
    proxy.rules += [Rule(faults.listing_with(f"{prefix}/{name}"), on("list"), every=1) for name in ghosts]
    done = cli.run_json(*command(url))
    assert done["totals"]["features"]["done"] == VIDEOS
    complete(content, base)


def test_short_answers_to_range_requests_are_not_taken_for_data(base: Base, proxy: Proxy) -> None:
    """Torn ones are asked for again; whole ones with fewer bytes are an error, never wrong numbers."""
    store = FeatureStore(base.result["artifacts"]["features"])
    video = store.videos[0]
    right = store.clip(video, range(FRAMES))
    proxy.rules.append(Rule(faults.cut, on("get"), times=2))
    assert (store.clip(video, range(FRAMES)) == right).all()
    proxy.rules[:] = [Rule(faults.shortened, on("get"))]
    with pytest.raises(CorruptShardError, match="5792 bytes came for the 11584 asked for"):
        store.clip(video, range(FRAMES))
