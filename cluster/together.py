"""Several processes of this machine that train one model together, joined by gloo or nccl; no ray needed."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import socket
import threading
import traceback
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from cluster.training import KNOWN, Problem
from stages.artifacts.place import Place
from stages.stage import FitStage, WorkContext

_FAILED = 1
_PATIENCE = timedelta(hours=12)  # the first process validates and writes while the others wait for it


def train_together(
    stage: FitStage, inputs: Sequence[Place], folder: Path, context: WorkContext, workers: int
) -> None:
    """Run ``stage`` in ``workers`` processes; the first of them writes the files.

    Raises:
        SettingsError, StoreError, FormatError, DamagedError: as the stage raised it in a process.
        RuntimeError: a process ended otherwise; the message holds its traceback.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    context = dataclasses.replace(context, report=None)  # it belongs to this process
    processes = [
        spawn.Process(target=_member, args=(stage, inputs, folder, context, rank, workers, port), daemon=True)
        for rank in range(workers)
    ]
    for process in processes:
        process.start()
    try:
        failed = _wait(processes)
    finally:
        for process in processes:
            process.kill()  # a process in a collective would not hear anything gentler
            process.join()
    problem = Problem(folder)
    if failed < 0 and not problem.known:  # the others may have told that they lost it
        raise RuntimeError(
            f"a training process ended with code {failed} (out of memory?); the same command goes on from "
            "the last checkpoint"
        )
    problem.raise_told()
    if failed:
        raise RuntimeError(f"a training process ended with code {failed} without a word")


def _wait(processes: Sequence[multiprocessing.process.BaseProcess]) -> int:
    """Until all have ended, or one has failed: the others would wait for it for ever.

    Returns 0, or the exit code of the one that failed; of several, that of one that was killed.
    """
    from multiprocessing.connection import wait

    alive = {process.sentinel: process for process in processes}
    while alive:
        for sentinel in wait(list(alive)):
            process = alive.pop(sentinel)  # type: ignore[arg-type]
            process.join()
            if process.exitcode:
                killed = [code for other in processes if (code := other.exitcode or 0) < 0]
                return killed[0] if killed else process.exitcode
    return 0


def _member(
    stage: FitStage,
    inputs: Sequence[Place],
    folder: Path,
    context: WorkContext,
    rank: int,
    workers: int,
    port: int,
) -> None:
    """One of the processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    problem = Problem(folder)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read at import; its advice is not for our users
    try:
        import torch.distributed as dist

        backend, device = _placed(context.device, rank, workers)
        dist.init_process_group(backend, rank=rank, world_size=workers, timeout=_PATIENCE)
        stage.make(inputs, folder, dataclasses.replace(context, device=device))
        _part(dist)
    except tuple(KNOWN.values()) as error:
        problem.tell(error)
        os._exit(_FAILED)
    except Exception:  # noqa: BLE001 - told by the parent, with its traceback
        problem.tell_bug(traceback.format_exc())
        os._exit(_FAILED)


def _part(dist: Any) -> None:
    """Wait for the others. One that leaves first may take its end of a connection with it, which is no harm
    once its work is done; one that failed tells so by its exit code.
    """
    with contextlib.suppress(RuntimeError):
        dist.barrier()
        dist.destroy_process_group()


def _placed(device: str, rank: int, workers: int) -> tuple[str, str]:
    """Backend and device of a process: a GPU each where there are enough, else they share what there is."""
    import torch

    wanted = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if not wanted:
        return "gloo", "cpu"
    if torch.cuda.device_count() < workers:
        return "gloo", "cuda"  # nccl refuses two processes on one GPU
    torch.cuda.set_device(rank)
    return "nccl", f"cuda:{rank}"


def _end_with_parent() -> None:
    """A process in a collective does not notice that its parent was killed: it would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(_FAILED)
