"""A real S3 server on loopback, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

# names that no other text of an output holds, so that a search for them finds every leak
ACCESS_KEY = "TUBEFLOWTESTACCESS0"
SECRET_KEY = "tubeflow/test+SECRET0key"
REGION = "us-east-1"
PAGE = 20
"""Objects in one answer to a listing; S3 gives a thousand."""

_SERVE = """
import logging, signal, threading
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
signal.pause()
"""


@contextlib.contextmanager
def serving() -> Iterator[int]:
    """The port of a server with no buckets; its process is ended by its id."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the S3 server ended with code {process.wait(10)}"
        yield int(line)
    finally:
        process.kill()
        process.communicate()


def settings(port: int) -> dict[str, str]:
    """What botocore reads from the environment to find the server on ``port``, and nothing else."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
