"""The lines under a plan: sampling, data, disk, and how it would be run."""

from __future__ import annotations

import argparse

from cluster.resources import cpus
from configs.schema import Config
from pipelines.builders import stage_names
from pipelines.output import human_bytes
from pipelines.planning import Plan


def plan_notes(plan: Plan, args: argparse.Namespace) -> list[str]:
    """One line per subject."""
    config = plan.graph.config
    notes = []
    if plan.graph.chain:
        notes = [
            f"data: {plan.listed:,} files listed in {config.data.root}"
            + (f"; {plan.gone:,} known ones are gone, their results stay" if plan.gone else ""),
            sampling_note(plan),
        ]
    notes.append(
        f"disk: about {human_bytes(plan.needed)} to write"
        + ("" if plan.free is None else f", {human_bytes(plan.free)} free")
        + f" in {plan.graph.store}"
    )
    workers = args.workers or (1 if args.runner == "local" else cpus())
    notes.append(
        f"runner: {args.runner}, {workers} workers of {config.run.threads} threads, {cpus()} CPUs here"
    )
    if warning := naming_warning(config):
        notes.append(warning)
    unknown = [stage.kind for stage in plan.stages if stage.todo is None]
    if unknown and plan.pending:
        notes.append(f"{', '.join(unknown)}: size known once the stage before has run")
    return notes


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
