"""The lines under a plan: sampling, data, disk, time, and where it would be run."""

from __future__ import annotations

from collections import Counter

from cluster.dashboard import Cluster, ListedNode
from cluster.resources import cpus
from configs.schema import Config
from pipelines.builders import stage_names
from pipelines.estimating import Estimate, Site
from pipelines.output import human_bytes, human_seconds
from pipelines.planning import Plan


def plan_notes(plan: Plan, runner: str, found: Estimate, cluster: Cluster | None = None) -> list[str]:
    """One line per subject.

    Args:
        runner: ``ray`` or ``local``.
        found: what the plan will take.
        cluster: where it would run; None for this machine.
    """
    config = plan.graph.config
    notes = []
    if plan.graph.chain:
        notes = [
            f"data: {plan.listed:,} files listed in {config.data.root}"
            + (f"; {plan.gone:,} known ones are gone, their results stay" if plan.gone else ""),
            sampling_note(plan),
        ]
    notes.append(
        f"disk: about {human_bytes(max(found.bytes, plan.needed))} to write"
        + ("" if plan.free is None else f", {human_bytes(plan.free)} free")
        + f" in {plan.graph.store}"
    )
    if cluster is None:
        workers = found.site.workers
        notes.append(
            f"runner: {runner}, {workers} workers of {config.run.threads} threads, {cpus()} CPUs here"
        )
    else:
        notes += cluster_notes(cluster, found.site, config.run.gpus)
    if warning := naming_warning(config):
        notes.append(warning)
    notes += time_notes(found) if plan.pending else []
    unknown = [one.kind for one in found.stages if one.bytes is None and one.kind in _kinds(plan)]
    if unknown and plan.pending:
        notes.append(f"{', '.join(unknown)}: size known once the stage before has run")
    return notes


def _kinds(plan: Plan) -> set[str]:
    """Kinds of the map stages whose work depends on one before them."""
    return {stage.kind for stage in plan.stages if stage.todo is None}


def time_notes(found: Estimate) -> list[str]:
    """How long it will take and how sure that is, in words."""
    some = [stage for stage in found.stages if stage.seconds]
    if found.unknown:
        known = f"; the others take about {human_seconds(found.worker_seconds)} of work" if some else ""
        return [
            f"time: no measured rate yet for {', '.join(found.unknown)}: run with --limit 20 first{known}",
            *_sources(found),
        ]
    if not some or found.wall_seconds is None:
        return []
    sure = "from one earlier run alone: half or twice as long is possible"
    if any(stage.runs > 1 for stage in some):
        sure = f"{human_seconds(found.low)} to {human_seconds(found.high)} as earlier runs differed"
    gpus = f", {found.gpu_seconds / 3600:,.2g} GPU-hours" if found.gpu_seconds else ""
    return [
        f"time: about {human_seconds(found.wall_seconds)} with {found.site.workers} workers ({sure}), which "
        f"work {human_seconds(found.worker_seconds)} together{gpus}",
        *_sources(found),
    ]


def _sources(found: Estimate) -> list[str]:
    """What the figures are from: one line, stages with the same source together."""
    by_source: dict[str, list[str]] = {}
    for stage in found.stages:
        if stage.seconds:
            by_source.setdefault(stage.source, []).append(stage.kind)
    if not by_source:
        return []
    said = "; ".join(f"{', '.join(kinds)}: {source}" for source, kinds in by_source.items())
    return [f"measured on: {said}"]


def cluster_notes(cluster: Cluster, site: Site, gpus: float) -> list[str]:
    """What a cluster has, and what of it the recipe would get."""
    count = len(cluster.nodes)
    kinds = Counter(map(_shape, cluster.nodes))
    shapes = ", ".join(f"{n} x {shape}" if n > 1 else shape for shape, n in kinds.items())
    store = sum(node.total.get("object_store_memory", 0) for node in cluster.nodes)
    held = sum(node.used("CPU") for node in cluster.nodes)
    held_gpus = sum(node.used("GPU") for node in cluster.nodes)
    busy = f"; in use now: {held:g} CPUs, {held_gpus:g} GPUs" if held or held_gpus else ""
    each = f"{gpus:g} GPUs" if gpus else "1 CPU"
    found = f" ({cluster.found})" if cluster.found else ""
    return [
        f"cluster: {cluster.url}{found}, Ray {cluster.ray}, {count} node{'s' * (count != 1)}: {shapes}; "
        f"object store {human_bytes(int(store))}{busy}",
        f"runner: ray, {site.workers} workers of {each}, of {cluster.cpus:g} CPUs and {cluster.gpus:g} GPUs "
        "there; nodes that an autoscaler may add are not counted",
    ]


def _shape(node: ListedNode) -> str:
    parts = [f"{node.cpus:g} CPUs"]
    if node.gpus:
        parts.append(f"{node.gpus:g} GPUs" + (f" ({', '.join(node.gpu_kinds)})" if node.gpu_kinds else ""))
    parts.append(human_bytes(int(node.total.get("memory", 0))))
    parts += [f"{name} {amount:g}" for name, amount in sorted(node.custom.items())]
    parts += [f"{name}={value}" for name, value in sorted(node.labels.items())]
    return " ".join(parts)


def sampling_note(plan: Plan) -> str:
    """How frames are chosen and how long videos are cut."""
    config = plan.graph.config
    if config.decode.stride is not None:
        rule = f"decode.stride={config.decode.stride} (every {config.decode.stride}. frame)"
    elif config.decode.fps == "all":
        rule = "decode.fps=all (every frame)"
    else:
        rule = f"decode.fps={config.decode.fps:g} (frames per second)"
        if config.data.kind in ("frames", "davis") and config.data.fps is None:
            rule += "; image folders have no clock: every frame, unless data.fps gives them one"
    return f"sampling: {rule}; segments of data.segment_frames={config.data.segment_frames} frames"


def naming_warning(config: Config) -> str | None:
    """What must be told about the weights that name tubes; None where nothing must, or no tubes are named."""
    stages = stage_names(config)
    return config.label.warning() if "embeddings" in stages and "clip" not in stages else None
