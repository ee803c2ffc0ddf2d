"""``ray job submit`` on a one-node cluster that the tests start and end by its process id."""

from __future__ import annotations

import dataclasses
import re
import shlex
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import cli
from tests.cluster import test_readme
from tests.cluster.head import Head, started_head
from tests.docs.test_examples import masked
from tests.faults.stores import marks
from tests.layouts import make_ytvis
from tests.media import make_corpus
from tests.outside import PROJECT


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with started_head() as found:
        yield found


def test_a_submitted_job_gives_the_same_bytes(head: Head, tmp_path: Path) -> None:
    root = make_corpus(tmp_path / "videos", 4, frames=4)
    (root / "text.mp4").write_text("no video")
    options = ("--set", "layout.shard_videos=2", "--max-failed", 1)
    command = cli.features(root, tmp_path / "job", *options)
    done = head.submit(PROJECT, "python", "pipelines/run.py", *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "features: 4 done" in done.stdout
    cli.run(*cli.features(root, tmp_path / "local", *options, "--runner", "local"))
    assert cli.digests(tmp_path / "job") == cli.digests(tmp_path / "local") != {}
    before = marks(tmp_path / "job")
    again = cli.run(*command, "--runner", "local")
    assert "nothing to do" in again.stdout
    assert marks(tmp_path / "job") == before


def test_a_relative_store_is_refused_inside_a_job(head: Head, tmp_path: Path) -> None:
    root = make_corpus(tmp_path / "videos", 1, frames=2)
    done = head.submit(PROJECT, "python", "pipelines/run.py", *cli.features(root, Path("store")))
    assert done.returncode == 1
    assert "store=store is relative" in done.stdout
    assert "exit code 2" in done.stdout + done.stderr


def test_a_job_needs_the_token(head: Head, tmp_path: Path) -> None:
    """The server refuses a client with no token or a wrong one; a file with the right one will do."""
    command = ("python", "-c", "print('the job ran')")
    without = {name: head.env[name] for name in head.env if name not in {"RAY_AUTH_TOKEN", "RAY_AUTH_MODE"}}
    wrong = {**head.env, "RAY_AUTH_TOKEN": "0" * 64}
    for env, says in ((without, "Missing authentication token"), (wrong, "Invalid authentication token")):
        done = dataclasses.replace(head, env=env).submit(tmp_path, *command)
        assert done.returncode != 0
        assert says in done.stderr
        assert "the job ran" not in done.stdout
    token_file = tmp_path / "auth_token"
    token_file.write_text(head.env["RAY_AUTH_TOKEN"])
    by_file = {**without, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file)}
    done = dataclasses.replace(head, env=by_file).submit(tmp_path, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the job ran" in done.stdout


def test_a_run_needs_the_token(head: Head, tmp_path: Path) -> None:
    """It says so at once, and without Ray's own lines."""
    root = make_corpus(tmp_path / "videos", 1, frames=2)
    command = cli.features(root, tmp_path / "store", "--address", head.address)
    done = cli.run(*command, code=2, RAY_AUTH_TOKEN="0" * 64)
    assert "does not take this token: set $RAY_AUTH_TOKEN" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_probes_need_no_token(head: Head) -> None:
    """Kubernetes' readiness probes have none; the list of jobs is nobody else's business."""
    for path, agent in (("/api/gcs_healthz", False), ("/api/local_raylet_healthz", True)):
        with urllib.request.urlopen((head.agent if agent else head.dashboard) + path, timeout=60) as answer:
            assert (answer.status, b"success" in answer.read()) == (200, True)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{head.dashboard}/api/jobs/", timeout=60)


@pytest.mark.long
def test_the_page_is_what_a_job_says(head: Head, tmp_path: Path) -> None:
    """cluster/README.md's command on its data set, twice: the lines it shows but for times and figures."""
    make_ytvis(tmp_path / "YTVIS", {"train": {f"v{n}": 6 for n in range(8)}}, size=(64, 96))
    (tmp_path / "small.yaml").write_text(test_readme.small_yaml())
    first, again = test_readme.shown()
    assert first[0] == again[0]
    words = shlex.split(first[0].split(" -- ")[1].replace("small.yaml", str(tmp_path / "small.yaml")))
    words = [word.replace("=/data/", f"={tmp_path}/") for word in words]
    for lines in (first, again):
        done = head.submit(PROJECT, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        said = masked(done.stdout.replace(str(tmp_path), "/data"))
        compared = [line for line in lines[1:] if not re.match(r"\[ |decoder |page:|training", line)]
        assert [line for line in compared if masked(line) not in said] == []
        assert len(compared) >= 2
