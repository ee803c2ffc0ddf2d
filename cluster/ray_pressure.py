"""What Ray Data is told about when a stage may begin another shard, and when a graph has got stuck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cluster.ray_setup import ray  # before anything of ray: it sets what ray reads once

# isort: split
from ray.data import DataContext
from ray.data._internal.execution import backpressure_policy as pressure

STUCK_S = 20.0
"""How long nothing at all has to move before it is looked whether something can."""

_WORKERS_KEY = "tubeflow.workers"
_short: list[Callable[[], bool]] = [lambda: False]  # the driver's own: a context travels, and this must not


class NotTooFarAhead(pressure.BackpressurePolicy):
    """A stage waits while the next one has twice as many shards before it as it has workers.

    Ray itself counts bytes in its object store, and receipts have next to none: a fast stage would fill the
    disk with features long before a slow one reads them.
    """

    def can_add_input(self, op: Any) -> bool:
        """Whether ``op`` may begin another shard."""
        most = 2 * self._data_context.get_config(_WORKERS_KEY, 1)
        waiting = (self._topology[below].total_enqueued_input_blocks() for below in op.output_dependencies)
        return all(count < most for count in waiting)


class StuckError(ray.exceptions.RayError):
    """Nothing moves in a graph, and the nodes that are left can't hold all its actors."""


class EndIfStuck(pressure.BackpressurePolicy):
    """Ends a graph of which some stage has no actor left.

    After a loss the actors of one stage may take the room of all nodes that are left, and wait for ever for
    those of the next one. A graph that begins anew is laid out for these nodes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._since = time.monotonic()

    def can_add_input(self, op: Any) -> bool:
        """Always true; looks on the way.

        Raises:
            StuckError: see there.
        """
        if any(other.num_active_tasks() for other in self._topology):
            self._since = time.monotonic()
        elif time.monotonic() - self._since > STUCK_S:
            self._since = time.monotonic()
            if _short[0]():
                raise StuckError("the nodes that are left have no room for workers of every stage")
        return True


def set_pressure(context: DataContext, workers: int, short: Callable[[], bool]) -> None:
    """Have graphs of ``context`` obey these policies.

    Args:
        workers: of each stage.
        short: asked now and then where nothing moves: whether the nodes can't hold so many.
    """
    _short[0] = short
    context.set_config(_WORKERS_KEY, workers)
    ours = [EndIfStuck, NotTooFarAhead]
    policies = [p for p in pressure.ENABLED_BACKPRESSURE_POLICIES if p not in ours]
    context.set_config(pressure.ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, [*ours, *policies])
