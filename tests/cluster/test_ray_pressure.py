"""Ray Data's graphs under our policies; that a stage does not run far ahead is tested in `test_on_ray`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster import ray_pressure, ray_setup

# isort: split
from ray.data import ActorPoolStrategy, DataContext


class Same:
    def __call__(self, batch):
        return batch


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray_setup.connect(None, 2)
    yield
    ray_setup.ray.shutdown()


def test_a_graph_ends_when_a_stage_will_have_no_actor(
    local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two stages, one of which asks for more than there is; it waits as long as more nodes may come."""
    monkeypatch.setattr(ray_pressure, "STUCK_S", 1.0)
    asked: list[bool] = []

    def short() -> bool:
        asked.append(len(asked) >= 2)
        return asked[-1]

    ray_pressure.set_pressure(DataContext.get_current(), 1, short)
    data = ray_setup.ray.data.range(4, override_num_blocks=4)
    for cpus in (1, 64):
        data = data.map_batches(Same, compute=ActorPoolStrategy(size=1), num_cpus=cpus, batch_size=1)
    with pytest.raises(ray_pressure.StuckError, match="no room for workers of every stage"):
        list(data.iter_batches(prefetch_batches=0))
    assert asked == [False, False, True]
