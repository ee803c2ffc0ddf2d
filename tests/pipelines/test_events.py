from __future__ import annotations

import json
import re

from cluster.chain import Receipt
from pipelines import events
from pipelines.events import Events, read_events
from tests.outside import PROJECT


class Remote:
    """A path that is no folder of this machine, as those of object stores are; keeps what is put."""

    def __init__(self, path):
        self.path = path


def rejecting(shard: str, count: int) -> Receipt:
    rejects = [[f"{shard}-{n}", "truncated", "x" * 2000] for n in range(count)]
    return Receipt(0, shard, rejected=count, made=True, rejects=rejects, host="here", pid=7)


def test_lines_are_numbered_and_there_at_once(tmp_path):
    told = Events(tmp_path / "events.jsonl")
    told.add("run_started", recipe="features")
    told.receipt("features", Receipt(1, "000000-00", done=2, frames=9, bytes=5, seconds=1.5, made=True))
    told.receipt("features", Receipt(1, "000001-00", done=3))
    first, made, found = read_events(tmp_path)
    assert [e["seq"] for e in (first, made, found)] == [1, 2, 3]
    assert first["recipe"] == "features" and first["time"].endswith("+00:00")
    assert (made["event"], made["stage"], made["frames"], made["seconds"]) == (
        "shard_committed",
        "features",
        9,
        1.5,
    )
    assert found["event"] == "shard_found", "another run had made it"


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path):
    told = Events(tmp_path / "events.jsonl")
    told.add("one")
    told.add("two")
    path = tmp_path / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert [e["event"] for e in read_events(tmp_path)] == ["one"]
    assert read_events(tmp_path / "elsewhere") == []


def test_rejects_are_bounded_in_number_and_length(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "MAX_REJECTS", 3)
    told = Events(tmp_path / "events.jsonl")
    told.receipt("catalog", rejecting("000000", 2))
    told.receipt("catalog", rejecting("000001", 2))
    found = read_events(tmp_path)
    assert [e["video"] for e in found if e["event"] == "video_rejected"] == [
        "000000-0",
        "000000-1",
        "000001-0",
    ]
    assert max(len(json.dumps(e)) for e in found) < 1000
    assert [e["rejected"] for e in found if e["event"] == "shard_committed"] == [2, 2]


def test_a_store_that_cannot_append_gets_the_whole_file_at_each_beat(tmp_path, monkeypatch):
    puts = []
    monkeypatch.setattr(events.atomic, "write_bytes", lambda path, data: puts.append((path, data)))
    remote = Remote("events.jsonl")
    told = Events(remote)
    told.add("one")
    told.add("two")
    assert puts == []
    told.flush()
    told.flush()  # nothing new: nothing is put
    told.add("three")
    told.flush()
    assert [path for path, _ in puts] == [remote] * 2
    assert [[json.loads(line)["event"] for line in data.splitlines()] for _, data in puts] == [
        ["one", "two"],
        ["one", "two", "three"],
    ]


def test_what_could_not_be_written_is_made_up_for(tmp_path):
    folder = tmp_path / "run"
    told = Events(folder / "events.jsonl")
    told.add("one")  # the folder is not there
    folder.mkdir()
    told.flush()
    told.add("two")
    assert [e["event"] for e in read_events(folder)] == ["one", "two"]


def test_every_event_is_documented():
    page = (PROJECT / "docs" / "watching.md").read_text(encoding="utf-8")
    rows = page.partition("| event |")[2].partition("\n\n")[0].splitlines()[2:]
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    source = "".join(path.read_text(encoding="utf-8") for path in (PROJECT / "pipelines").glob("*.py"))
    added = set(re.findall(r'(?:events|self)\.add\(\s*"(\w+)"', source))
    assert described == added | {"finished", "failed", "interrupted"}
