"""``--explain VIDEO``: what became of a video in every stage of a recipe, and where its data lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.graph import Graph
from pipelines.output import Output
from stages.artifacts import manifest
from stages.artifacts.layout import Artifact
from stages.artifacts.ledger import Ledger
from stages.catalog.ids import source_id
from stages.errors import SettingsError


def explain(graph: Graph, wanted: str, output: Output) -> int:
    """Print the outcomes of the videos that ``wanted`` names."""
    if not graph.chain:
        raise SettingsError(f"recipe {graph.config.recipe} reads no videos: there is nothing to explain")
    ledgers = {
        b.stage.kind: (b.artifact, Ledger.load(b.artifact)) for b in graph.chain if b.artifact.exists()
    }
    if not ledgers:
        raise SettingsError(f"nothing has run with these settings yet in {graph.store}; see --plan")
    videos = _matching(graph, wanted, [ledger for _, ledger in ledgers.values()])
    report = {}
    for video in videos:
        output.say(video)
        stages = {}
        for kind, (artifact, ledger) in ledgers.items():
            rows = ledger.table.filter(pc.equal(ledger.table["video"], video)).to_pylist()
            current = _shards(ledger.current, video)
            stages[kind] = [_entry(artifact, row, row["shard"] in current) for row in rows]
            for entry in stages[kind]:
                output.say("  " + _line(kind, entry))
            if not rows:
                output.say(f"  {kind}: not done yet")
        report[video] = stages
    output.data({"videos": report})
    return 0


def _matching(graph: Graph, wanted: str, ledgers: list[Ledger]) -> list[str]:
    """Ids that ``wanted`` names: exactly, by path, by source, or as a part of an id."""
    ids = sorted(set(pa.concat_tables([led.table.select(["video"]) for led in ledgers])["video"].to_pylist()))
    path = Path(wanted)
    root = Path(graph.chain[0].context.data_root)
    relative = path.relative_to(root) if path.is_absolute() and path.is_relative_to(root) else path
    source = source_id(quote_from_bytes(str(relative).encode("utf-8", "surrogateescape")))
    exact = [v for v in ids if v in (wanted, source) or v.startswith((wanted + "~", source + "~"))]
    found = exact or [video for video in ids if wanted in video]
    if not found:
        raise SettingsError(f"no video is called {wanted!r}: give an id, a path or a part of one")
    return found


def _shards(table: pa.Table, video: str) -> set[str]:
    rows = table.filter(pc.equal(table["video"], video))
    return set(rows["shard"].cast(pa.string()).to_pylist())


def _entry(artifact: Artifact, row: dict[str, Any], current: bool) -> dict[str, Any]:
    footer = manifest.read_footer(artifact.manifest(row["shard"]))
    outcome = next(o for o in footer.outcomes if o["video"] == row["video"])
    where: dict[str, Any] = {"shard": str(artifact.shard(row["shard"]))}
    if outcome["status"] == "done" and artifact.suffix == ".tar":
        members = manifest.read_rows(artifact, row["shard"])
        mine = members.filter(pc.equal(members["video"], row["video"]))
        where |= {"offset": pc.min(mine["offset"]).as_py(), "members": mine.num_rows}
    if artifact.dropped_mark(row["shard"]).exists():
        where["dropped"] = True
    return {**outcome, **where, "superseded": not current and row["status"] != "unchanged"}


def _line(kind: str, entry: dict[str, Any]) -> str:
    text = f"{kind}: {entry['status']}"
    if entry["status"] == "rejected":
        text += f" ({entry['error_class']}, {entry['attempts']} attempts): {entry['message']}"
    elif entry["status"] == "skipped":
        text += f": {entry['reason']}"
    text += "".join(f", {key} {value}" for key, value in entry.get("info", {}).items())
    text += f", in {entry['shard']}" + (f" at byte {entry['offset']:,}" if "offset" in entry else "")
    text += " [dropped after use]" if entry.get("dropped") else ""
    return text + (" [superseded]" if entry["superseded"] else "")
