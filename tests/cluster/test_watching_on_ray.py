"""A run on a real cluster, seen from outside: Prometheus metrics, Ray's log files, events, ``--status``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.ray_metrics import NAMES
from pipelines.events import read_events
from tests import cli
from tests.cluster.head import Head, started_head
from tests.faults.decoders import GATED
from tests.faults.gates import shut
from tests.faults.processes import PATIENCE_S, started, wait_until
from tests.media import make_corpus
from tests.outside import PROJECT

GRAFANA = PROJECT / "cluster" / "grafana.json"
TAGS = ("stage", "run", "recipe")


@dataclass(frozen=True)
class Watched:
    """A finished run: what it said, what Prometheus was given, and the folder of its record."""

    said: dict[str, Any]
    samples: dict[str, list[tuple[dict[str, str], float]]]
    record: Path
    status: list[dict[str, Any]]
    head: Head

    def total(self, name: str, *by: str) -> dict[tuple[str, ...], float]:
        """Sums of this run's samples called ``name``."""
        sums: dict[tuple[str, ...], float] = defaultdict(float)
        for labels, value in self.samples[name]:
            if labels.get("run") == self.said["run"]:
                sums[tuple(labels[label] for label in by)] += value
        return dict(sums)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    root = make_corpus(folder / "videos", 6, frames=12)
    (root / "text.mp4").write_text("no video")
    store = folder / "store"
    with started_head() as head:
        command = cli.features(
            root, store, "--set", "layout.shard_videos=2", "--max-failed", 2, "--workers", 1, "--set", GATED
        )
        env = {key: value for key, value in head.env.items() if key.startswith("RAY_")}
        status = []
        remote = [*command, "--address", head.address, "--json"]
        with shut(root / "clip_02.mp4") as gate, started(*remote, HOME=head.env["HOME"], **env) as run:
            run.until(lambda: gate.reached, "second shard of features")
            status.append(cli.run_json(*command, "--status"))
            gate.open()
            said = json.loads(run.wait(0))
        samples = scraped(head.metrics, "ray_tubeflow_shards_total", sum_of(said, "shards"))
        status.append(cli.run_json(*command, "--status", said["run"]))
        trained(head, store / "runs" / said["run"], folder)
        samples |= scraped(head.metrics, "ray_tubeflow_training_steps_per_second", 2)
        yield Watched(said, by_name(samples), store / "runs" / said["run"], status, head)


def sum_of(said: dict[str, Any], what: str) -> float:
    """A total of a run, over all stages."""
    return sum(stage[what] for stage in said["totals"].values())


def trained(head: Head, record: Path, folder: Path) -> None:
    """A training on the cluster that belongs to the run recorded in ``record``."""
    script = (
        "import sys; from pathlib import Path; from cluster.on_ray import RayRunner;"
        "from cluster.watching import TrainingWatch; from stages.stage import WorkContext;"
        "from tests.cluster.toy import ToldFit;"
        "record, folder = map(Path, sys.argv[2:]);"
        "context = WorkContext('', folder, report=TrainingWatch(record, 'model'));"
        "(folder / 'model').mkdir();"
        "RayRunner(1, address=sys.argv[1]).fit(ToldFit(), [], folder / 'model', context)"
    )
    arguments = [sys.executable, "-c", script, head.address, record, folder]
    done = subprocess.run(
        list(map(str, arguments)),
        cwd=PROJECT,
        env=head.env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr


Sample = tuple[str, tuple[tuple[str, str], ...]]


def scraped(url: str, awaited: str, total: float) -> dict[Sample, float]:
    """All samples that the node serves, without any token, by name and labels.

    Processes hand theirs over every few seconds, or when they end, and some time later they are forgotten:
    so it is asked again until those called ``awaited`` add up to ``total``.
    """
    samples: dict[Sample, float] = {}

    def complete() -> bool:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
        return sum(value for (name, _), value in samples.items() if name == awaited) >= total

    wait_until(complete, f"{total:g} {awaited}", every=0.5)
    return samples


def by_name(samples: dict[Sample, float]) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Labels and values by name."""
    found = defaultdict(list)
    for (name, labels), value in samples.items():
        found[name].append((dict(labels), value))
    return found


def test_sums_of_metrics_are_the_runs_own_totals(watched: Watched) -> None:
    for stage, totals in watched.said["totals"].items():
        for name in ("frames", "bytes", "shards"):
            counted = watched.total(f"ray_tubeflow_{name}_total", "stage").get((stage,), 0)
            assert counted == totals[name], (stage, name)
        videos = watched.total("ray_tubeflow_videos_total", "stage", "outcome")
        for outcome in ("done", "skipped", "rejected"):
            assert videos.get((stage, outcome), 0) == totals[outcome], (stage, outcome)
    assert watched.total("ray_tubeflow_rejects_total", "stage", "error_class") == {
        ("catalog", "not_media"): 1
    }
    assert watched.total("ray_tubeflow_shard_seconds_count", "stage") == watched.total(
        "ray_tubeflow_shards_total", "stage"
    )


def test_time_is_work_or_waiting(watched: Watched) -> None:
    made = [e for e in read_events(watched.record) if e["event"] == "shard_committed"]
    waited = watched.total("ray_tubeflow_waiting_seconds_total", "stage", "what")
    worked = watched.total("ray_tubeflow_working_seconds_total", "stage")
    for stage in ("catalog", "features"):
        spent = sum(e["seconds"] for e in made if e["stage"] == stage)
        assert waited[stage, "decoder"] == pytest.approx(
            sum(e["waited"].get("decoder", 0.0) for e in made if e["stage"] == stage), abs=0.01
        )
        assert worked[stage,] + waited[stage, "decoder"] == pytest.approx(spent, abs=0.01)
        assert waited[stage, "task"] > 0, "no worker gets its second shard in the moment its first one ends"


def test_a_trainings_figures_are_gauges(watched: Watched) -> None:
    assert watched.total("ray_tubeflow_training_step", "stage") == {("model",): 5}
    assert watched.total("ray_tubeflow_training_loss", "stage") == {("model",): 0.25}
    assert watched.total("ray_tubeflow_training_steps_per_second", "stage") == {("model",): 2}


def test_every_metric_says_what_it_is_of(watched: Watched) -> None:
    exported = {name for name in watched.samples if name.startswith("ray_tubeflow_")}
    assert exported == NAMES
    for name in exported:
        for labels, _ in watched.samples[name]:
            assert labels["recipe"] == "features" and all(labels[tag] for tag in TAGS)


def test_the_dashboard_asks_for_metrics_that_exist(watched: Watched) -> None:
    """Scraped are all of ours and Ray's, but for those of GPUs, which Ray's own dashboard has, too."""
    ours = json.loads(
        next(watched.head.folder.glob("session_2*/metrics/**/default_grafana_dashboard.json")).read_text()
    )
    rays = set().union(*(metrics_of(e["expr"]) for p in panels(ours) for e in p.get("targets", ())))
    known = NAMES | set(watched.samples) | rays
    dashboard = json.loads(GRAFANA.read_text())
    asked = set()
    for panel in panels(dashboard):
        for target in panel.get("targets", ()):
            found = metrics_of(target["expr"])
            assert found, target["expr"]
            asked |= found
    for variable in dashboard["templating"]["list"]:
        asked |= metrics_of(variable.get("definition", ""))
    assert asked - known == set()
    assert {name for name in asked if name not in watched.samples} == {
        "ray_node_gpus_utilization", "ray_node_gram_used",
    }  # fmt: skip
    unused = NAMES - asked
    assert unused == {"ray_tubeflow_shard_seconds_count", "ray_tubeflow_shard_seconds_sum"}


def test_the_dashboard_is_one(watched: Watched) -> None:
    dashboard = json.loads(GRAFANA.read_text())
    assert dashboard["schemaVersion"] >= 36 and dashboard["uid"] == "tubeflow" and "id" not in dashboard
    ids = [panel["id"] for panel in panels(dashboard)]
    assert len(ids) == len(set(ids))
    variables = {entry["name"]: entry for entry in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    places = []
    for panel in panels(dashboard):
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not any(cells & other for other in places), panel["title"]
        places.append(cells)
        if panel["type"] == "row":
            continue
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            check_balanced(target["expr"])
            names = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
            assert names <= set(variables)


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def metrics_of(expression: str) -> set[str]:
    """Names of metrics in a PromQL expression, as far as Ray's prefix tells them."""
    return set(re.findall(r"\bray_\w+", re.sub(r'"[^"]*"', "", expression)))


def check_balanced(expression: str) -> None:
    """Brackets and quotes of a PromQL expression come in pairs."""
    bare = re.sub(r'"(\\.|[^"\\])*"', "", expression)
    assert '"' not in bare, expression
    stack = []
    for sign in bare:
        if sign in "([{":
            stack.append(sign)
        elif sign in ")]}":
            assert stack and stack.pop() + sign in ("()", "[]", "{}"), expression
    assert not stack, expression


def test_a_videos_id_is_found_in_the_logs_of_the_nodes(watched: Watched) -> None:
    found = []
    for path in watched.head.folder.glob("session_2*/logs/worker-*.err"):
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("{") and watched.said["run"] in line:
                found.append(json.loads(line))
    (reject,) = [entry for entry in found if entry.get("video") == "text@mp4"]
    assert reject["stage"] == "catalog" and reject["level"] == "warning"
    assert reject["error_class"] == "not_media" and reject["shard"] and reject["host"] and reject["pid"]
    commits = [entry for entry in found if "is committed" in entry["message"]]
    totals = watched.said["totals"]
    assert len(commits) == sum(total["shards"] for total in totals.values())
    assert sum(entry["frames"] for entry in commits) == totals["features"]["frames"] > 0


def test_prometheus_finds_the_nodes(watched: Watched) -> None:
    """Ray keeps a list of its nodes for Prometheus' ``file_sd_configs``."""
    (group,) = json.loads((watched.head.folder / "prom_metrics_service_discovery.json").read_text())
    port = watched.head.metrics.rpartition(":")[2].partition("/")[0]
    assert group["labels"] == {"job": "ray"}
    assert any(target.endswith(f":{port}") for target in group["targets"])


def test_nodes_and_shards_are_events(watched: Watched) -> None:
    events = read_events(watched.record)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert [e["time"] for e in events] == sorted(e["time"] for e in events)
    made = [e for e in events if e["event"] == "shard_committed"]
    for stage, totals in watched.said["totals"].items():
        assert sum(e["done"] for e in made if e["stage"] == stage) == totals["done"]
        assert {e["host"] for e in made if e["stage"] == stage}
    (reject,) = [e for e in events if e["event"] == "video_rejected"]
    assert (reject["video"], reject["stage"], reject["error_class"]) == ("text@mp4", "catalog", "not_media")
    assert events[0]["event"] == "run_started" and events[-1]["event"] == "finished"


def test_status_of_a_run_on_another_machine_comes_from_the_store(watched: Watched) -> None:
    living, ended = watched.status
    assert living["state"] == "running" and living["run"] == ended["run"]
    assert ended["state"] == "finished" and ended["exit_code"] == 0
    assert ended["stages"]["features"]["finished"] == 7
    assert [r["video"] for r in ended["rejects"]] == ["text@mp4"]
