"""What a run's artifacts say, as the data model of the page."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.artifacts import whole
from stages.artifacts.layout import Artifact, read_stage_json
from stages.artifacts.ledger import Ledger
from stages.artifacts.place import Place, place, size_below
from stages.evaluation.results import read_metrics
from stages.labeling.accuracy import read_accuracy
from stages.metrics.all_protocols import help_of
from stages.report.names import naming
from stages.report.overlays import overlays
from stages.report.page.model import Curve, MetricRow, RejectLine, Report, StageLine, VideoLine
from stages.report.published import published_rows
from stages.stage import WorkContext
from stages.tubes.table import NAMED

NAMES = {
    NAMED: "named tubes",
    "decoder": "decoder masks",
    "attention": "attention masks",
    "cluster": "clusters",
    "one": "one segment",
    "blocks": "position blocks",
    "kmeans": "k-means",
    "spectral": "spectral clustering",
    "centre": "centre box",
}
"""How candidates are called on the page."""

MASKS = (NAMED, "decoder", "attention", "cluster")
"""Candidates that are the method's own."""

_MOST_POINTS = 500


def gather(context: WorkContext) -> Report:
    """The report on the artifacts in ``context.inputs`` and the run described by ``context.facts``."""
    folders = {kind: place(folder) for kind, folder in context.inputs.items()}
    settings: dict[str, Any] = dict(context.facts.get("settings", {}))
    metrics = read_metrics(folders["metrics"]) if "metrics" in folders else None
    rows, protocols, primary = [], [], ""
    if metrics is not None:
        primary = metrics["primary"]
        protocols = [(name, help_of(name)) for name in metrics["protocols"]]
        rows = [*_rows(metrics, settings), *published_rows(settings.get("recipe", ""), metrics["protocols"])]
    return Report(
        title=f"{settings.get('recipe', 'run')} on {folders['catalog'].name.rsplit('-', 1)[0]}",
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        recipe=settings.get("recipe", ""),
        primary=primary,
        stages=list(_stages(folders, context.facts.get("stages", {}))),
        protocols=protocols,
        rows=rows,
        curves=list(_curves(folders)),
        overlays=overlays(context, primary),
        rejects=list(_rejects(folders)),
        config=settings,
        fingerprints={kind: folder.name for kind, folder in folders.items()},
        versions=_versions(folders),
        notes=list(_notes(rows, primary)),
        videos=_videos(folders),
        naming=naming(context),
        words=list(_words(folders)),
    )


def _rows(metrics: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[MetricRow]:
    method = settings.get("method", {}).get("name", "method")
    for candidate, values in metrics["values"].items():
        own = candidate in MASKS
        name = NAMES.get(candidate, candidate)
        yield MetricRow(f"{method} · {name}" if own else name, values, trained=own)


def _stages(folders: Mapping[str, Place], facts: Mapping[str, Any]) -> Iterator[StageLine]:
    """One line per stage: what this run made, what it found made before, and the seconds that took."""
    for kind, folder in folders.items():
        run = facts.get(kind, {})
        name, _, fingerprint = folder.name.rpartition("-")
        common: dict[str, Any] = {
            "kind": kind,
            "name": name,
            "folder": str(folder),
            "fingerprint": fingerprint,
        }
        common["seconds"] = float(run.get("seconds", 0.0))
        if (folder / "manifest").is_dir():
            totals = Ledger.load(Artifact.at(folder)).totals()
            made = int(run.get("done", 0))
            yield StageLine(
                **common,
                made=made,
                cached=max(totals.done - made, 0),
                skipped=totals.skipped,
                rejected=totals.rejected,
                bytes=totals.bytes,
                frames=totals.frames,
            )
        else:
            made = int("seconds" in run)
            size = size_below(folder)
            yield StageLine(**common, made=made, cached=1 - made, skipped=0, rejected=0, bytes=size, frames=0)


def _curves(folders: Mapping[str, Place]) -> Iterator[Curve]:
    found = whole.files(folders["model"]) if "model" in folders else None
    if found is None or not (found / "history.parquet").exists():
        return
    table = pq.read_table(found / "history.parquet")
    for name in sorted(set(table["name"].to_pylist())):
        mine = table.filter(pc.equal(table["name"], name))
        every = -(-mine.num_rows // _MOST_POINTS)
        steps, values = mine["step"].to_pylist()[::every], mine["value"].to_pylist()[::every]
        yield Curve(name, list(zip(steps, values, strict=True)))


def _rejects(folders: Mapping[str, Place]) -> Iterator[RejectLine]:
    for kind, folder in folders.items():
        if (folder / "manifest").is_dir():
            for row in Ledger.load(Artifact.at(folder)).with_status("rejected").sort_by("video").to_pylist():
                yield RejectLine(kind, row["video"], row["error_class"], row["message"])


def _versions(folders: Mapping[str, Place]) -> dict[str, str]:
    environment = read_stage_json(folders["catalog"])["environment"]
    return {**environment["libraries"], "machine": f"{environment['machine']}, {environment['processor']}"}


def _words(folders: Mapping[str, Place]) -> Iterator[MetricRow]:
    found = read_accuracy(folders["clip"]) if "clip" in folders else {}
    for name, accuracy in found.items():
        yield MetricRow(name, vars(accuracy))


def _notes(rows: list[MetricRow], primary: str) -> Iterator[str]:
    """Sentences about trained rows that a trivial row beats."""
    trivial = [row for row in rows if not row.trained and not row.published]
    for row in (row for row in rows if row.trained):
        mine = row.values.get(primary)
        better = [
            t.candidate
            for t in trivial
            if mine is not None and (other := t.values.get(primary)) is not None and other > mine
        ]
        if better:
            yield f"{row.candidate} is below {' and '.join(better)} in {primary}."


def _videos(folders: Mapping[str, Place]) -> list[VideoLine]:
    """Scores per video of the method's first kind of masks."""
    found = whole.files(folders["metrics"]) if "metrics" in folders else None
    if found is None:
        return []
    table = pq.read_table(found / "per_video.parquet")
    table = table.filter(pc.is_in(table["candidate"], pa.array(MASKS)))
    values: dict[str, dict[str, float | None]] = {}
    for row in table.to_pylist():
        values.setdefault(f"{row['video']} · {NAMES[row['candidate']]}", {})[row["protocol"]] = row["value"]
    return [VideoLine(video, scores) for video, scores in values.items()]
