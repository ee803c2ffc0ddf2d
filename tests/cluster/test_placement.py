"""The arithmetic of who fits where, without ray."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from cluster.placement import (
    Asked,
    Node,
    Pool,
    arrange,
    arrange_training,
    decoder_pool,
    owner_needs,
    place,
    unfit_for_light_work,
)
from cluster.resources import ResourcesError
from stages.errors import SettingsError
from tests.cluster.toy import ToyStage

HEAD = Node("h", "head", {"object_store_memory": 1e9})
GPU = Node("g", "gpu-node", {"CPU": 4, "GPU": 1}, {"CPU": 4, "GPU": 0.5})
DECODERS = [Node(f"d{n}", f"decode-{n}", {"CPU": 2, "decode": 2}) for n in range(2)]
PLAIN = Node("p", "plain", {"CPU": 8})


@dataclass(frozen=True)
class Model(ToyStage):
    kind: ClassVar[str] = "features"
    accelerated: ClassVar[bool] = True
    decodes: ClassVar[bool] = True


amounts = some.dictionaries(
    some.sampled_from(["CPU", "GPU", "decode"]), some.integers(0, 80).map(lambda n: n / 10)
)
wants = some.dictionaries(
    some.sampled_from(["CPU", "GPU", "decode"]), some.integers(1, 30).map(lambda n: n / 10), min_size=1
)


@settings(max_examples=200, deadline=None)
@given(
    some.lists(amounts, max_size=4),
    some.lists(some.tuples(some.integers(1, 6), wants), min_size=1, max_size=3),
)
def test_what_is_accepted_has_room_and_what_is_refused_names_a_pool(totals, asked):
    nodes = [Node(str(n), f"node {n}", total) for n, total in enumerate(totals)]
    pools = [Pool(f"pool {n}", count, needs, f"set {n}") for n, (count, needs) in enumerate(asked)]
    try:
        placed = place(nodes, pools)
    except ResourcesError as error:
        assert any(str(pool.count) + " " + pool.name in str(error) for pool in pools)
        assert any(pool.remedy in str(error) for pool in pools) or "add nodes" in str(error)
        if len(pools) == 1:  # equal actors: how many fit doesn't depend on how they are placed
            assert _room(nodes, pools[0]) < pools[0].count
        return
    held: dict[str, Counter[str]] = {node.id: Counter() for node in nodes}
    for pool in pools:
        assert len(placed[pool.name]) == pool.count
        for node in placed[pool.name]:
            held[node].update({kind: round(need * 10) for kind, need in pool.needs.items()})
    for node in nodes:
        assert all(used <= round(node.total.get(kind, 0) * 10) for kind, used in held[node.id].items())


def _room(nodes, pool):
    return sum(
        min(round(node.total.get(kind, 0) * 10) // round(need * 10) for kind, need in pool.needs.items())
        for node in nodes
    )


def test_an_actor_needs_one_node_with_all_it_asks_for():
    nodes = [Node("a", "a", {"CPU": 8}), Node("b", "b", {"GPU": 2, "CPU": 1}, {"GPU": 2, "CPU": 0})]
    with pytest.raises(ResourcesError) as told:
        place(nodes, [Pool("shard owners (features)", 2, {"CPU": 1, "GPU": 1})])
    assert str(told.value) == (
        "2 shard owners (features) need 1 CPU + 1 GPU each, on one node, and there is room for 1 beside the "
        "run's other actors (nodes: a 8 CPU; b 1 CPU of which 0 free + 2 GPU): lower --workers"
    )


def test_the_remedy_is_one_that_helps():
    """Fewer workers are none where not a single one finds room."""
    owners = Pool("owners", 1, {"CPU": 1, "GPU": 1})
    with pytest.raises(ResourcesError, match=r": add nodes that have it, or leave run.gpus out$"):
        place([PLAIN], [owners])
    decoders = Pool("decoders", 8, {"CPU": 1}, "lower run.decode_workers")
    with pytest.raises(ResourcesError, match=r"^1 owners .* for 0 .*: lower run.decode_workers$"):
        place([PLAIN], [decoders, Pool("owners", 1, {"CPU": 1})])


@pytest.mark.parametrize(
    ("stages", "gpus", "expected"),
    [
        ([False, True], 1, [{}, {"CPU": 1, "GPU": 1}]),
        ([False, True, True, True, False], 0.5, [{}, *[{"CPU": 0.3333, "GPU": 0.1666}] * 3, {}]),
        ([False, True, True], 3, [{}, *[{"CPU": 0.5, "GPU": 1}] * 2]),
        ([False, True], 0, [{}, {"CPU": 1}]),
        ([False, False], 1, [{"CPU": 0.5}] * 2),
    ],
)
def test_stages_with_models_share_a_worker(stages, gpus, expected):
    assert owner_needs(stages, gpus) == expected


def test_a_share_above_one_is_whole():
    with pytest.raises(SettingsError, match=r"run.gpus=1.5: give a fraction up to 1, or a whole number"):
        owner_needs([True], 1.5)


@pytest.mark.parametrize(
    ("nodes", "gpus", "expected"),
    [
        ([HEAD, GPU, *DECODERS, PLAIN], 1, (4, {"CPU": 1, "decode": 1})),
        ([HEAD, GPU, PLAIN], 1, (8, {"CPU": 1})),
        ([PLAIN], 0, (4, {"CPU": 1})),
        ([Node("x", "x", {"CPU": 1})], 0, (1, {"CPU": 1})),
    ],
)
def test_decoders_go_where_they_are_wanted(nodes, gpus, expected):
    found = decoder_pool(nodes, 0, gpus)
    assert (found.count, found.needs) == expected


def test_a_run_is_arranged_over_different_nodes():
    nodes = [HEAD, GPU, *DECODERS]
    stages = [ToyStage("a"), Model("b"), Model("c")]
    found = arrange(nodes, stages, Asked(0, 0.5, 0))
    assert found.workers == 2
    assert found.decoder_nodes == ("d0", "d0", "d1", "d1")
    assert found.unfit == ("h", "d0", "d1") == tuple(unfit_for_light_work(nodes))
    assert found.streams == 1, "four decoders for two workers with two stages that decode"
    assert arrange(nodes, stages[:2], Asked(1, 1, 4)).streams == 4
    with pytest.raises(
        ResourcesError, match=r"5 decoders need 1 CPU \+ 1 decode each.*lower run.decode_workers"
    ):
        arrange(nodes, stages, Asked(1, 0.5, 5))
    assert arrange(nodes, stages[:1], Asked(2, 0, 5)).decoders is None, "nothing decodes"
    assert unfit_for_light_work(DECODERS) == []


def test_trainings_are_refused_alike():
    assert arrange_training([GPU, *DECODERS], 1, Asked(0, 1, 0)).streams == 4
    with pytest.raises(
        ResourcesError, match=r"2 processes of the training need 1 GPU each.*run.train_workers"
    ):
        arrange_training([GPU], 2, Asked(0, 1))
