"""Samples of a corpus: exact, and the same however the corpus came about."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from cluster.chain import Chain, Task
from cluster.local import LocalRunner
from stages.artifacts.ledger import Ledger
from stages.discovery.sample import sample_of, sampled_shards
from tests.cluster.toy import make_chain

SHARDS = {f"{n:06d}": [f"v{n}{letter}" for letter in "abcde"] for n in range(12)}
VIDEOS = [video for videos in SHARDS.values() for video in videos]


def corpus(folder: Path, seed: int, workers: int = 1) -> Chain:
    """Twelve shards of five videos through two stages, in an order of the seed's."""
    folder.mkdir()
    chain = make_chain(folder, "ab", videos=2)
    tasks = [Task(0, shard, items=[{"uri": v} for v in videos]) for shard, videos in SHARDS.items()]
    random.Random(seed).shuffle(tasks)
    list(LocalRunner(workers).run(chain, tasks, "run"))
    return chain


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return corpus(tmp_path_factory.mktemp("sample") / "one", 0)


def drawn(chain: Chain, videos: int, candidates: list[str] | None = None) -> list[str]:
    catalog, features = (bound.artifact for bound in chain)
    return sample_of(VIDEOS if candidates is None else candidates, catalog, features, videos)


@pytest.mark.parametrize(("videos", "shards"), [(1, 1), (5, 1), (6, 2), (17, 4), (60, 12), (1000, 12)])
def test_as_many_as_asked_from_as_few_shards_as_hold_them(chain: Chain, videos: int, shards: int) -> None:
    found = drawn(chain, videos)
    assert len(found) == min(videos, len(VIDEOS)) == len(set(found)) and found == sorted(found)
    taken = sampled_shards(Ledger.load(chain[0].artifact), videos)
    assert len(taken) == shards
    assert set(found) <= {video for shard in taken for video in SHARDS[shard]}


def test_it_does_not_depend_on_the_order_of_work_nor_on_workers(chain: Chain, tmp_path: Path) -> None:
    other = corpus(tmp_path / "two", 1, workers=2)
    assert drawn(other, 17) == drawn(chain, 17)


def test_a_larger_sample_holds_the_smaller_ones_shards(chain: Chain) -> None:
    ledger = Ledger.load(chain[0].artifact)
    sizes = [sampled_shards(ledger, n) for n in (1, 10, 30, 60)]
    assert all(a <= b for a, b in itertools.pairwise(sizes))
    assert sizes[1] != set(sorted(SHARDS)[:2]), "not simply the first ones"


def test_others_step_in_for_videos_that_are_left_out(chain: Chain) -> None:
    """Excluded videos, or those without features, as far as the sampled shards have others."""
    without = drawn(chain, 17)[0]
    found = drawn(chain, 17, [video for video in VIDEOS if video != without])
    assert len(found) == 17 and without not in found
