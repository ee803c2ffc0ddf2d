"""Several processes of this machine that train one model together, joined by gloo; no ray needed."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import socket
import traceback
from collections.abc import Sequence
from pathlib import Path

from stages.errors import SettingsError
from stages.stage import FitStage, WorkContext

_SETTINGS, _BUG = 2, 1


def train_together(
    stage: FitStage, inputs: Sequence[Path], folder: Path, context: WorkContext, workers: int
) -> None:
    """Run ``stage`` in ``workers`` processes; the first of them writes the files.

    Raises:
        SettingsError: as the stage raised it in a process.
        RuntimeError: a process ended otherwise; the message holds its traceback.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    problem = folder / ".problem"
    processes = [
        spawn.Process(target=_member, args=(stage, inputs, folder, context, rank, workers, port, problem))
        for rank in range(workers)
    ]
    for process in processes:
        process.start()
    try:
        _wait(processes)
    finally:
        for process in processes:
            process.terminate()
            process.join()
    if problem.exists():
        kind, _, text = problem.read_text().partition("\n")
        raise SettingsError(text) if kind == "settings" else RuntimeError(text)
    failed = [process.exitcode for process in processes if process.exitcode]
    if failed:
        raise RuntimeError(
            f"a training process ended with code {failed[0]}; the same command goes on from its checkpoint"
        )


def _wait(processes: Sequence[multiprocessing.process.BaseProcess]) -> None:
    """Until all have ended, or one has failed: the others would wait for it for ever."""
    from multiprocessing.connection import wait

    alive = {process.sentinel: process for process in processes}
    while alive:
        for sentinel in wait(list(alive)):
            process = alive.pop(sentinel)  # type: ignore[arg-type]
            process.join()
            if process.exitcode:
                return


def _member(
    stage: FitStage,
    inputs: Sequence[Path],
    folder: Path,
    context: WorkContext,
    rank: int,
    workers: int,
    port: int,
    problem: Path,
) -> None:
    import torch.distributed as dist

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=workers)
    try:
        stage.make(inputs, folder, dataclasses.replace(context, report=None))
    except SettingsError as error:
        problem.write_text(f"settings\n{error}")
        os._exit(_SETTINGS)
    except Exception:  # noqa: BLE001 - told by the parent, with its traceback
        problem.write_text(f"bug\n{traceback.format_exc()}")
        os._exit(_BUG)
    dist.barrier()
    dist.destroy_process_group()
