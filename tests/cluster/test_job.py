"""``ray job submit`` on a one-node cluster that the tests start and end by its process id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import cli
from tests.cluster.head import Head, started_head
from tests.faults.stores import marks
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
