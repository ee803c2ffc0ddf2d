"""What this machine or a cluster can carry, found out without ray or torch."""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
from pathlib import Path

from stages.artifacts.layout import processor
from stages.artifacts.place import Place
from stages.errors import SettingsError

GPU = "GPU "
"""What the name of hardware begins with where it is a GPU."""


class ResourcesError(RuntimeError):
    """The run can't be scheduled or stored: exit code 5. The message says what is short and of how much."""


def cpus() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def nodes_patience(asked: float | None) -> float:
    """Seconds that a run waits for nodes: ``run.nodes_s``, else ``$TUBEFLOW_NODES_S``, else none.

    Raises:
        SettingsError: it is no number of seconds.
    """
    text = os.environ.get("TUBEFLOW_NODES_S", "") if asked is None else str(asked)
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        name = "TUBEFLOW_NODES_S" if asked is None else "run.nodes_s"
        raise SettingsError(f"{name}={text}: must be a number of seconds, 0 or more")
    return seconds


def free_bytes(folder: Place) -> int | None:
    """Free bytes on the file system that ``folder`` is, or would be, on; None at a URL."""
    if not isinstance(folder, Path):
        return None
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def has_gpu() -> bool:
    """Whether the NVIDIA driver runs on this machine."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidia0").exists()


def gpu_models() -> list[str]:
    """Names of this machine's NVIDIA GPUs as the driver tells them, e.g. ``NVIDIA H200``; one per GPU."""
    found = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        if match := re.search(r"^Model:\s*(.+?)\s*$", path.read_text(), re.MULTILINE):
            found.append(match[1])
    return found


def worked_on() -> str:
    """What this process computes on: `GPU` and its name where torch has started one, else the processor."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return f"{GPU}{torch.cuda.get_device_name()}"
    return processor()
