"""The pages as HTML text: one file each, complete in itself."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape

from stages.report.page.charts import chart
from stages.report.page.html import capped, section, table
from stages.report.page.model import Comparison, MetricRow, Report, StageLine, Values
from stages.report.page.named import names_section, strip
from stages.report.page.style import CSS, JS

MOST = 200
"""Rows of a long list that are shown."""


def render(report: Report) -> str:
    """The page of a run."""
    parts = [
        f"<h1>{escape(report.title)}</h1><p class='soft'>made {escape(report.created)}</p>",
        _warning(report),
        *(f"<p class='note'>{escape(note)}</p>" for note in report.notes),
        section("Figures", _figures(report)) if report.rows else "",
        section("Tubes", "".join(map(strip, report.overlays))) if report.overlays else "",
        names_section(report.naming, report.overlays) if report.naming is not None else "",
        section("Flow", f"<div class='flow'>{''.join(map(_stage, report.stages))}</div>"),
        section("Training", f"<div class='charts'>{charts}</div>") if (charts := _charts(report)) else "",
        section("Videos", _videos(report)) if report.videos else "",
        section("Words that the trained CLIP knows", _words(report)) if report.words else "",
        section(f"Rejects ({len(report.rejects)})", _rejects(report)),
        section("How it was made", _origin(report)),
    ]
    return document(report.title, "".join(parts))


def _warning(report: Report) -> str:
    if report.naming is None or not report.naming.warning:
        return ""
    return f"<p class='note loud' role='alert'>{escape(report.naming.warning)}</p>"


def render_comparison(comparison: Comparison) -> str:
    """The page that compares runs: means, and sample deviations over seeds."""
    names = [name for name, _ in comparison.protocols]
    rows = []
    for row in comparison.rows:
        cells = [f"<td>{escape(row.candidate)}</td>", f"<td>{row.runs}</td>"]
        for name in names:
            value, spread = _finite(row.values, name), _finite(row.spread, name)
            more = "" if spread is None else f" <span class='soft'>± {100 * spread:.1f}</span>"
            cells.append(_number(value, more))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    listed = "".join(f"<li>{escape(run)}</li>" for run in comparison.runs)
    notes = "".join(f"<p class='note'>{escape(note)}</p>" for note in comparison.notes)
    body = f"<h1>{escape(comparison.title)}</h1>{notes}" + section(
        "Figures", table(["candidate", "runs", *names], rows, dict(comparison.protocols))
    )
    body += section("Runs", f"<ul>{listed}</ul>")
    return document(comparison.title, body)


def document(title: str, body: str) -> str:
    """A whole page around ``body``."""
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<link rel='icon' href='data:,'>"
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body><main>{body}</main>"
        f"<script>{JS}</script></body></html>\n"
    )


def _finite(values: Values, name: str) -> float | None:
    """A figure that can be shown; what is no number is as good as missing."""
    value = values.get(name)
    return value if value is not None and math.isfinite(value) else None


def _number(value: float | None, more: str = "") -> str:
    if value is None:
        return "<td data-value=''>–</td>"
    return f"<td data-value='{value:.6f}'>{100 * value:.1f}{more}</td>"


def _figures(report: Report) -> str:
    names = [name for name, _ in report.protocols]
    trivial = [row for row in report.rows if not row.trained and not row.published]
    rows = []
    for row in report.rows:
        kind = "own" if row.trained else "published" if row.published else ""
        source = f" <span class='soft'>({escape(row.source)})</span>" if row.source else ""
        cells = [f"<td>{escape(row.candidate)}{source}</td>"]
        cells += [_number(_finite(row.values, name), _below(row, name, trivial)) for name in names]
        rows.append(f"<tr class='{kind}'>{''.join(cells)}</tr>")
    legend = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in report.protocols)
    more = f"<details><summary>What the protocols count</summary><dl>{legend}</dl></details>"
    return table(["candidate", *names], rows, dict(report.protocols)) + more


def _below(row: MetricRow, name: str, trivial: Sequence[MetricRow]) -> str:
    """The mark of a trained row that a trivial one beats."""
    value = _finite(row.values, name)
    if not row.trained or value is None:
        return ""
    better = [t for t in trivial if (other := _finite(t.values, name)) is not None and other > value]
    if not better:
        return ""
    best = max(better, key=lambda t: t.values[name] or 0.0)
    return f" <span class='below'>below {escape(best.candidate)}</span>"


def _stage(line: StageLine) -> str:
    facts = {
        "made in this run": f"{line.made:,}",
        "found made": f"{line.cached:,}",
        "skipped": f"{line.skipped:,}",
        "rejected": f"{line.rejected:,}",
        "frames": f"{line.frames:,}",
        "size": f"{line.bytes / 2**20:,.1f} MiB",
        "seconds of work": f"{line.seconds:,.1f}",
    }
    listed = "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in facts.items())
    name = f"{escape(line.name)} <code>{escape(line.fingerprint)}</code>"
    return f"<div class='card'><b>{escape(line.kind)}</b><p class='soft'>{name}</p><dl>{listed}</dl></div>"


def _charts(report: Report) -> str:
    return "".join(f"<div class='card'>{drawn}</div>" for curve in report.curves if (drawn := chart(curve)))


def _videos(report: Report) -> str:
    names = [name for name, _ in report.protocols]
    rows = [
        f"<tr><td>{escape(line.video)}</td>"
        f"{''.join(_number(_finite(line.values, name)) for name in names)}</tr>"
        for line in report.videos[:MOST]
    ]
    return capped(len(report.videos), MOST) + table(["video", *names], rows)


def _words(report: Report) -> str:
    columns = ("right", "chance", "majority")
    rows = []
    for row in report.words:
        cells = "".join(_number(_finite(row.values, name)) for name in columns)
        rows.append(f"<tr><td>{escape(row.candidate)}</td>{cells}</tr>")
    return "<p class='soft'>Zero-shot, on held-out sprites.</p>" + table(["word", *columns], rows)


def _rejects(report: Report) -> str:
    if not report.rejects:
        return "<p class='soft'>None.</p>"
    rows = [
        f"<tr><td>{escape(line.video)}</td><td class='text'>{escape(line.stage)}</td>"
        f"<td class='text'>{escape(line.error_class)}</td><td class='wrap'>{escape(line.message)}</td></tr>"
        for line in report.rejects[:MOST]
    ]
    return capped(len(report.rejects), MOST) + table(["video", "stage", "class", "message"], rows)


def _origin(report: Report) -> str:
    versions = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in report.versions.items())
    prints = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in report.fingerprints.items())
    settings = escape(json.dumps(report.config, indent=2, ensure_ascii=False))
    return (
        f"<div class='card'><details open><summary>Artifacts</summary><dl>{prints}</dl></details>"
        f"<details><summary>Versions</summary><dl>{versions}</dl></details>"
        f"<details><summary>Settings</summary><pre>{settings}</pre></details></div>"
    )
