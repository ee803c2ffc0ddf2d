"""What this machine or a cluster can carry, found out without ray or torch."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from stages.artifacts.place import Place


class ResourcesError(RuntimeError):
    """The run can't be scheduled or stored: exit code 5. The message says what is short and of how much."""


def cpus() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
