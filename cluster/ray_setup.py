"""Ray itself: imported with our settings, joined or started."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cluster.dashboard import PORT, token, wrong_token
from cluster.resources import ResourcesError
from stages.errors import SettingsError

if "ray" not in sys.modules:  # it reads these once; changed later, its two sides would disagree
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its own log files still have everything

try:
    import ray
    import ray.data
except ImportError as error:  # pragma: no cover - exercised by a test in a process of its own
    raise SettingsError(
        f"ray can't be imported by {sys.executable} ({error}): start the cluster from the project's .venv "
        "(`.venv/bin/ray start --head`), or use --runner local"
    ) from error

__all__ = ["PROJECT", "connect", "ray"]

PROJECT = Path(__file__).resolve().parents[1]
_log = logging.getLogger(__name__)
_ANSWER_S = 10.0
_OBJECT_STORE_BYTES = 128 * 2**20  # receipts only; the smallest store that Ray is happy with


def connect(address: str | None, cpus: int) -> None:
    """Join a cluster, or start a local Ray with as many CPUs as the machine has, and at least ``cpus``."""
    search = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"env_vars": {"PYTHONPATH": search, "OMP_NUM_THREADS": "1"}}
    _keep_reports_off_standard_output()
    if address:
        in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ  # then the job's working_dir is on the path
        with _held_stderr():
            _refuse_unreachable(address)
            ray.init(address=address, runtime_env=None if in_job else environment, log_to_driver=False)
        return
    with _held_stderr():
        ray.init(
            num_cpus=max(os.cpu_count() or 1, cpus),
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            runtime_env=environment,
            logging_level="ERROR",
        )


def _refuse_unreachable(address: str) -> None:
    """Refuse at once what can't be joined: Ray itself would try for up to twenty minutes.

    Raises:
        SettingsError: the address can't be understood, or the cluster wants another token.
        ResourcesError: no cluster is there.
    """
    from ray._private.services import canonicalize_bootstrap_address
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    try:
        found = str(canonicalize_bootstrap_address(address))
        host, _, port = found.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
    except ValueError:
        raise SettingsError(
            f"the cluster's address {address} can't be used: give auto, or HOST:PORT as `ray start` has said "
            f"it (the dashboard, port {PORT} unless told otherwise, is for --plan and `ray job submit`)"
        ) from None
    except OSError as error:
        raise _nobody(address, error) from None
    if os.environ.get("RAY_AUTH_MODE") == "token":
        token(f"the cluster at {found}")  # without any the next call would abort this process
    try:
        GcsClient(address=found)
    except ray.exceptions.AuthenticationError:
        raise wrong_token(f"the cluster at {found}") from None
    except ray.exceptions.RayError as error:
        raise _nobody(address, error) from None


def _nobody(address: str, error: Exception) -> ResourcesError:
    said = str(error).strip().splitlines()[0].removesuffix(".")
    return ResourcesError(
        f"no Ray cluster answers at {address} ({said}): is it up, and is this the address that `ray start "
        "--head` has said?"
    )


def _keep_reports_off_standard_output() -> None:
    """Ray prints what nodes report, such as the last log lines of a lost one, to a driver's standard output,
    where our results belong; `cluster.ray_recovery` says in a sentence what matters of it.
    """
    if hasattr(ray._private.worker, "print_to_stdstream"):
        ray._private.worker.print_to_stdstream = lambda data, **_: _log.debug("%s", data.get("lines"))


@contextlib.contextmanager
def _held_stderr() -> Iterator[None]:
    """Holds back what Ray's C++ side writes to standard error while it starts, unless the start fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except (SettingsError, ResourcesError):
            raise  # they say it all
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
