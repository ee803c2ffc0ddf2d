"""Killed drivers and uploads: nothing half-made is ever visible, and the same command goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import cli
from tests.faults.processes import PATIENCE_S, started, wait_until
from tests.object_stores import faults
from tests.object_stores.conftest import SHARDS, Base, Command
from tests.object_stores.content import Content
from tests.object_stores.proxy import Proxy, Rule
from tests.outside import PROJECT

MIB = 2**20


def test_a_killed_driver_is_taken_up_where_it_was(
    command: Command, url: str, proxy: Proxy, content: Content, base: Base
) -> None:
    """It dies while it uploads the third shard of features."""
    third = Rule(faults.hang(PATIENCE_S), lambda r: r.action == "put" and "shards/features-000002" in r.key)
    proxy.rules.append(third)
    with started(*command(url)) as run:
        run.until(lambda: third.met, "upload")
        run.kill_tree()
    proxy.rules.clear()
    assert len(content.manifests("features")) == 2
    assert not content.names(r"features/.*/shards/features-000002.*"), "it was not wholly sent"
    done = content.digests()
    assert done.items() <= base.content.digests().items()
    proxy.forget()
    cli.run(*command(url))
    assert content.digests() == base.content.digests()
    assert content.latest_run()["stages"]["features"]["shards"] == SHARDS - 2
    rewritten = {r.key.partition("/store/")[2] for r in proxy.seen("put")} & done.keys()
    assert not rewritten, "committed objects are not touched"


def test_a_killed_upload_in_parts_shows_nothing_and_is_collected(
    command: Command, copied: str, proxy: Proxy, content: Content, tmp_path: Path
) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(101 * MIB)
    target = f"{copied}/features/big"
    stuck = Rule(faults.hang(PATIENCE_S), lambda r: r.action == "part" and r.query["partNumber"] != "1")
    proxy.rules.append(stuck)
    before = content.names()
    code = (
        "import sys; from pathlib import Path; from stages.artifacts.place import place; "
        "place(sys.argv[1]).put_file(Path(sys.argv[2]))"
    )
    upload = subprocess.Popen([sys.executable, "-c", code, target, str(big)], cwd=PROJECT)
    try:
        wait_until(lambda: stuck.met >= 2 and any(r.status == 200 for r in proxy.seen("part")), "parts")
    finally:
        upload.kill()
        upload.wait()
    proxy.forget()
    assert content.names() == before
    proxy.rules.append(Rule(faults.older(3600), lambda request: request.action in ("head", "uploads")))
    listed = cli.run_json(*command(copied), "--gc")
    assert [entry["path"] for entry in listed["files"]] == [target]
    assert listed["bytes"] >= 50 * MIB
    assert not proxy.seen("abort")
    cli.run(*command(copied), "--gc", "--yes")
    assert len(proxy.seen("abort")) == 1
    assert cli.run_json(*command(copied), "--gc")["files"] == []
    assert content.names() == before
