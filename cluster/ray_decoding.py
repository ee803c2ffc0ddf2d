"""Decoding on other nodes: a pool of decode actors that stream frames to the owners of shards.

An owner has a few streams, each of which asks for one video after the other, of whichever decoder takes it. A
stream never has more than `IN_STORE` chunks in the object store: a decoder waits before the next one. Between
owner and actor go the very orders and answers that go between `DecoderClient` and its child process, so that
attempts, retries and errors are counted and told by the owner as they are without Ray.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import random
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.cpu_time import spent_elsewhere
from cluster.placement import Pool
from cluster.ray_setup import ray
from cluster.resources import ResourcesError
from stages.decode.client import DecoderClient
from stages.decode.placing import SideBySide
from stages.decode.process import POLL_S, AbandonedError, Child, ChildFailedError
from stages.stage import Limits

IN_STORE = 2
"""Chunks of one video that may wait in the object store. The owner copies what it takes, and lets it go."""
READ_AHEAD = 8
"""Chunks per stream that wait in the owner's own memory, until it is their video's turn."""
MOST = 32
"""Videos that one actor decodes at a time when others are lost; usually it is one."""
ASKED = 16
"""Decoders that are asked for one that is free, before one takes a video beside another."""
MOST_LOSSES = 8
"""Decoders that may be lost while they decode one video before that counts as one failed attempt on it."""
_PLACED_S = 300.0
_WARN_S = 60.0

_log = logging.getLogger(__name__)
_NOTHING = np.empty(0, np.uint8)

Message = tuple[tuple[Any, ...], NDArray[np.uint8]]
"""A header and a payload, as a decoder child sends them."""
Answer = tuple[*Message, float]
"""The same from an actor, and the CPU seconds that the child has spent since the answer before."""


class DecodeActor:
    """Decodes in child processes, one per video that it works on; see `stages.decode.process.Child`.

    Args:
        limits: of the children.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._running = 0
        self._idle: list[Child] = []
        self._stops: dict[str, threading.Event] = {}

    def node(self) -> str:
        """The id of the node it is on."""
        return str(ray.get_runtime_context().get_node_id())

    def pid(self) -> int:
        """Its process id."""
        return os.getpid()

    def running(self) -> int:
        """How many videos it decodes just now."""
        return self._running

    def stop(self, stream: str) -> None:
        """Stop decoding for ``stream``: its consumer has gone."""
        self._stops.setdefault(stream, threading.Event()).set()

    def answers(self, stream: str, order: tuple[Any, ...], most: int) -> Iterator[Answer]:
        """A child's answers to ``order``, after one that says whether it is taken.

        First ``("begun",)``, or ``("busy",)`` and nothing else where ``most`` videos are being decoded here.
        Then what the child says; ``("failed", error class, what)`` where it fails.
        """
        with self._lock:
            taken = self._running < min(most, MOST)
            self._running += taken
        if not taken:
            yield ("busy",), _NOTHING, 0.0
            return
        stop = self._stops.setdefault(stream, threading.Event())
        try:
            yield ("begun",), _NOTHING, 0.0
            yield from self._decoded(order, stop)
        finally:
            with self._lock:
                self._running -= 1
            self._stops.pop(stream, None)

    def _decoded(self, order: tuple[Any, ...], stop: threading.Event) -> Iterator[Answer]:
        if stop.is_set():
            return
        child = self._child()
        child.stop = stop
        over = False
        try:
            child.request(*order)
            while not over and not stop.is_set():
                header, payload = child.answer()
                over = header[0] != "chunk"
                yield header, payload, child.spent()
        except ChildFailedError as failure:
            yield ("failed", failure.error_class, str(failure)), _NOTHING, child.spent()
        except AbandonedError:
            return
        finally:
            self._put_back(child, over)

    def _child(self) -> Child:
        with self._lock:
            child = self._idle.pop() if self._idle else None
        child = child or Child(self._limits)
        child.videos += 1
        return child

    def _put_back(self, child: Child, over: bool) -> None:
        """Keep a child that has finished its video for the next one, unless it has done its share."""
        if over and not child.ended and child.videos < self._limits.recycle_videos:
            with self._lock:
                self._idle.append(child)
        else:
            child.close()


class RemoteChild:
    """A decoder child elsewhere; see `stages.decode.client.Answering`.

    A decoder that is lost (its node, its memory) is no fault of the video: another one goes on with what is
    missing. Where all are lost it waits until one is back.

    Args:
        actors: the pool.
        limits: not used; the actors have theirs.
    """

    def __init__(self, actors: Sequence[Any], limits: Limits) -> None:
        self._actors = list(actors)
        self._used: Any = None
        self._stream: Any = None
        self._id, self._begun = "", False
        self._order: tuple[Any, ...] = ()
        self._got = self._losses = self._in_a_row = 0
        self._turns = self._next_decoders()
        self.videos = 0
        self.stop: threading.Event | None = None

    @property
    def ended(self) -> bool:
        """Never: it is replaced from within."""
        return False

    def request(self, *order: Any) -> None:
        """Give an order, for the first decoder that takes it."""
        self.close()
        self._order = order
        self._got = self._losses = self._in_a_row = 0
        self._turns = self._next_decoders()

    def answer(self) -> Message:
        """The next message about the order.

        Raises:
            ChildFailedError: a decoder child failed on the video, or `MOST_LOSSES` decoders were lost.
            AbandonedError: nobody waits for it any more.
        """
        while True:
            try:
                header, payload = self._take()
            except ray.exceptions.RayTaskError:  # not the actor was lost: it has met a bug
                raise
            except ray.exceptions.RayError as loss:
                self._lost(loss)
                continue
            self._in_a_row = 0
            match header[0]:
                case "busy":
                    self._stream = None
                case "begun":
                    self._begun = True
                case "failed":
                    self._stream = None
                    raise ChildFailedError(header[1], header[2])
                case "chunk":
                    self._got += 1
                    return header, payload
                case _:
                    self._stream = None
                    return header, payload

    def _take(self) -> Message:
        """The next message of the present decoder, of another one if there is none."""
        if self._stream is None:
            self._used, most = next(self._turns)
            self._id, self._begun = uuid.uuid4().hex, False
            stream = self._used.answers.options(
                num_returns="streaming", _generator_backpressure_num_objects=IN_STORE
            )
            self._stream = stream.remote(self._id, self._rest(), most)
        while not ray.wait([self._stream], timeout=POLL_S)[0]:
            if self.stop is not None and self.stop.is_set():
                raise AbandonedError
        header, payload, cpu = ray.get(next(self._stream))
        spent_elsewhere(cpu)
        return header, payload.copy()  # or the store would keep the chunk as long as anybody uses it

    def _rest(self) -> tuple[Any, ...]:
        """The order, without what has come."""
        if self._order[0] != "decode":
            return self._order
        name, request, skip = self._order
        return name, request, skip + self._got

    def _next_decoders(self) -> Iterator[tuple[Any, int]]:
        """Who is asked next and how many videos it may have then: the last one used, then any others; one
        video each, then two and so on.
        """
        for most in itertools.cycle(range(1, MOST + 1)):
            others = [actor for actor in self._actors if actor is not self._used]
            asked = random.sample(others, min(ASKED, len(others)))
            for actor in [*([self._used] if self._used is not None else []), *asked]:
                yield actor, most

    def _lost(self, loss: Exception) -> None:
        """Go on with another decoder, more patiently the more of them were lost in a row."""
        self._losses += self._begun
        self._in_a_row += 1
        self._stream = self._used = None
        self._turns = self._next_decoders()
        if self._losses >= MOST_LOSSES:
            raise ChildFailedError(
                "crash", f"{self._losses} decoders were lost while they decoded it ({loss})"
            )
        pause = min(0.05 * 2**self._in_a_row, 5.0)
        if self._in_a_row % int(_WARN_S / 5.0) == 0:
            _log.warning("no decoder can be reached, the last one because of %s; waiting for one", loss)
        if (self.stop or threading.Event()).wait(pause):
            raise AbandonedError

    def watch(self) -> None:
        """Nothing to do: the actor watches its children."""

    def close(self) -> None:
        """Give up the present order. The actor's stream ends with the next chunk."""
        if self._stream is not None:
            self._used.stop.remote(self._id)
            self._stream = None  # unblocks an actor that waits for us


@dataclass(frozen=True)
class RemoteDecoding:
    """Makes the decoder of a worker; travels to the workers in `WorkContext.decoding`.

    Attributes:
        actors: the pool.
        streams: videos that one worker has decoded at a time.
    """

    actors: tuple[Any, ...]
    streams: int

    def __call__(self, limits: Limits) -> SideBySide:
        """A decoder with its own streams."""
        start = partial(RemoteChild, self.actors)
        return SideBySide([DecoderClient(limits, start, READ_AHEAD) for _ in range(self.streams)])


@contextlib.contextmanager
def decode_actors(pool: Pool, nodes: Sequence[str], limits: Limits) -> Iterator[tuple[Any, ...]]:
    """Inside, the actors of ``pool`` are there; one that is lost is started again wherever there is room.

    Args:
        nodes: the id of each one's node.
        limits: of their decoder children.

    Raises:
        ResourcesError: none of them could be started: others hold what they need.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    needs = dict(pool.needs)
    options = {
        "num_cpus": needs.pop("CPU", 0),
        "resources": needs,
        "max_restarts": -1,
        "max_concurrency": MOST + 2,  # two that refuse and stop
    }
    made = ray.remote(DecodeActor)
    actors = tuple(
        made.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True), **options).remote(
            limits
        )
        for node in nodes
    )
    try:
        placed, _ = ray.wait(
            [actor.node.remote() for actor in actors], num_returns=len(actors), timeout=_PLACED_S
        )
        if not placed:
            raise ResourcesError(
                f"none of {pool.count} {pool.name} could be started within {_PLACED_S:g} s, though the nodes "
                "are large enough: wait until other work is done, or set decode.placement=fused"
            )
        yield actors
    finally:
        for actor in actors:
            ray.kill(actor)
