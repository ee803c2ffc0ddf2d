"""``--status``: how far a run is, seen from anywhere through the store alone."""

from __future__ import annotations

import contextlib
import datetime
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.watching import workers_folder
from pipelines.arguments import LATEST
from pipelines.events import read_events
from pipelines.output import Output, human_bytes
from pipelines.runs import RunStatus, all_runs
from stages.artifacts.place import Place
from stages.errors import SettingsError

RATE_S = 60.0
"""Rates are those of so many last seconds, or of as many as `RATE_SHARDS` shards per worker took."""
RATE_SHARDS = 2
_SHOWN = 5
_COUNTED = ("done", "rejected", "skipped", "frames", "bytes")
_SHARD_EVENTS = ("shard_committed", "shard_found")

Json = dict[str, Any]


def show_status(store: Place, name: str, output: Output) -> int:
    """Print how far the run called ``name`` is, or the latest one.

    Raises:
        SettingsError: there is no such run on the store.
    """
    runs = all_runs(store)
    chosen = [run for run in runs if name in (LATEST, run.folder.name)]
    if not chosen and name != LATEST:
        latest = f"; the latest is {runs[-1].folder.name}" if runs else ""
        raise SettingsError(f"no run {name} on {store}{latest}")
    if not chosen:
        with contextlib.suppress(FileNotFoundError):
            next(store.iterdir(), None)  # a bucket that isn't there is an error, unlike one without runs
        output.say(f"no run on {store} yet")
        output.data({"run": None})
        return 0
    told = describe(chosen[-1])
    for line in lines(told):
        output.say(line)
    output.data(told)
    return 0


def describe(run: RunStatus) -> Json:
    """All that is known of ``run``: its status record, and beside what is in it

    ``state``, ``age`` (seconds since the last sign of life), and by stage ``finished``, ``rate`` (``videos``,
    ``frames`` and ``bytes`` per second, of the last minute) and ``left`` (seconds, None if unknown);
    ``workers``: what each of them does; ``rejects`` and ``problem``: what went wrong last.
    """
    now, events = time.time(), read_events(run.folder)
    living = run.state == "running"
    workers = _workers(run.folder, events) if living or run.state == "killed" else []
    told: Json = {**run.status, "state": run.state, "age": round(run.age_s, 1)}
    told["stages"] = {
        kind: _stage(kind, counts, events, workers, now if living else None)
        for kind, counts in _counts(run, events).items()
    }
    told["workers"] = workers
    told["waits_for"] = _waits_for(told) if living else ""
    told["rejects"] = [event for event in events if event["event"] == "video_rejected"][-_SHOWN:]
    return told


def _counts(run: RunStatus, events: Sequence[Json]) -> dict[str, Json]:
    """Counts by stage from the status record, or from the events where those are newer."""
    found: dict[str, Json] = {}
    for event in events:
        if event["event"] == "planned":
            for kind, plan in event["stages"].items():
                found.setdefault(kind, {**dict.fromkeys(_COUNTED, 0), "total": plan["todo"]})
        elif event["event"] in _SHARD_EVENTS and event["stage"] in found:
            for name in _COUNTED:
                found[event["stage"]][name] += event[name]
    recorded: dict[str, Json] = run.status["stages"]
    for kind, counts in recorded.items():
        newer = {name: max(counts[name], found.get(kind, counts)[name]) for name in _COUNTED}
        found[kind] = {**counts, **newer}
    return _expected(found)


def _expected(stages: dict[str, Json]) -> dict[str, Json]:
    """With totals as they will be: while a stage has work left, the next one will get as many videos."""
    before: Json | None = None
    found = {}
    for kind, counts in stages.items():
        finished = counts["done"] + counts["rejected"] + counts["skipped"]
        total = max(counts["total"] or 0, finished)
        if before is not None and before["finished"] < before["total"]:
            total = max(total, before["total"])
        found[kind] = before = {**counts, "finished": finished, "total": total}
    return found


def _stage(
    kind: str, counts: Json, events: Sequence[Json], workers: Sequence[Json], now: float | None
) -> Json:
    """The counts of a stage, with how fast it is; ``now`` is None where nothing goes on any more."""
    if now is None:
        return {**counts, "rate": None, "left": None}
    begun = sum(worker["videos"] for worker in workers if worker["stage"] == kind)
    if counts["finished"] == counts["total"] and not begun:
        return {**counts, "rate": None, "left": 0.0}
    rate = _rate(kind, events, sum(worker["stage"] == kind for worker in workers), now)
    left = max(counts["total"] - counts["finished"] - begun, 0)
    speed = rate["videos"] if rate else 0.0
    return {**counts, "rate": rate, "left": left / speed if speed else (0.0 if not left else None)}


def _rate(kind: str, events: Sequence[Json], workers: int, now: float) -> Json | None:
    """What ``kind`` does per second, from the shards that it committed last.

    Shards come in waves, as many at once as there are workers: so the time looked at holds a few waves.
    """
    made = [e for e in events if e["event"] == "shard_committed" and e["stage"] == kind]
    recent = [e for e in made if _seconds(e) >= now - RATE_S]
    if len(recent) < RATE_SHARDS * max(workers, 1):
        recent = made[-RATE_SHARDS * max(workers, 1) :]
    if not recent:
        return None
    since = max(now - min(_seconds(e) - e["seconds"] for e in recent), 1e-3)
    videos = sum(e["done"] + e["rejected"] + e["skipped"] for e in recent)
    per = {name: sum(e[name] for e in recent) / since for name in ("frames", "bytes")}
    return {"videos": videos / since, **per}


def _workers(run: Place, events: Sequence[Json]) -> list[Json]:
    """What the run's workers say of themselves, without shards that have been committed since."""
    made = {(e["stage"], e["shard"]): _seconds(e) for e in events if e["event"] in _SHARD_EVENTS}
    found = []
    try:
        paths = sorted(path for path in workers_folder(run).iterdir() if path.suffix == ".json")
    except FileNotFoundError:
        return []
    for path in paths:
        try:
            worker = json.loads(path.read_bytes())
        except (OSError, ValueError):  # it has just ended
            continue
        if "training" not in worker:
            done = made.get((worker.get("stage"), worker.get("shard")), 0.0) > worker.get("since", 0.0)
            worker = {"stage": "", "videos": 0, "count": 0, **worker}
            if done or "shard" not in worker:
                worker = {**{n: worker[n] for n in ("host", "pid", "stage", "seen")}, "videos": 0, "count": 0}
        else:
            worker = {"videos": 0, "count": 0, **worker}
        found.append(worker)
    return found


def _waits_for(told: Json) -> str:
    """What the driver says that it waits for; where no worker is at work, that."""
    said = str(told.get("waits_for", ""))
    idle = not any("shard" in worker or "training" in worker for worker in told["workers"])
    unfinished = any(stage["total"] > stage["finished"] for stage in told["stages"].values())
    return said or ("workers: none is making a shard" if idle and unfinished else "")


def _seconds(event: Json) -> float:
    return datetime.datetime.fromisoformat(event["time"]).timestamp()


def lines(told: Json) -> list[str]:
    """What `describe` has found, for people."""
    now = time.time()
    found = [f"{told['run']}: {told['state']}, last sign of life {told['age']:.0f} s ago"]
    found += [_stage_line(kind, stage, told["state"]) for kind, stage in told["stages"].items()]
    if told["state"] == "killed" and told["workers"]:
        found.append("  when it was killed:")
    found += [f"  {line}" for worker in told["workers"] if (line := _worker_line(worker, now))]
    if told["waits_for"]:
        found.append(f"  waits for {told['waits_for']}")
    found += [
        f"  rejected: {r['video']} ({r['stage']}: {r['error_class']}) {r['message']}" for r in told["rejects"]
    ]
    if told.get("error"):
        found.append(f"  {told['error']}")
    return found


def _stage_line(kind: str, stage: Json, state: str) -> str:
    line = (
        f"  {kind}: {stage['finished']:,}/{stage['total']:,} videos, {stage['rejected']} rejected, "
        f"{stage['frames']:,} frames, {human_bytes(stage['bytes'])}"
    )
    if stage["rate"]:
        rate = stage["rate"]
        line += f", {rate['frames']:,.1f} frames/s" if rate["frames"] else f", {rate['videos']:,.1f} videos/s"
    if state == "running" and stage["left"]:
        line += f", about {_duration(stage['left'])} left"
    return line


def _worker_line(worker: Mapping[str, Any], now: float) -> str:
    where = f"{worker['host']}, process {worker['pid']}"
    if "training" in worker:
        figures = worker["training"]
        steps = f"/{figures['steps']:,.0f}" if "steps" in figures else ""
        loss = f", loss {figures['loss']:.4g}" if "loss" in figures else ""
        return f"{where}: trains {worker['stage']}, step {figures.get('step', 0):,.0f}{steps}{loss}"
    if "shard" not in worker:
        return ""
    since = _duration(now - worker["since"])
    return (
        f"{where}: {worker['stage']} {worker['shard']} since {since}, "
        f"{worker['videos']:,}/{worker['count']:,} videos"
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
