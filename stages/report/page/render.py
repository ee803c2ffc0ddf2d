"""The pages as HTML text: one file each, complete in itself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from html import escape

from stages.report.page.charts import chart
from stages.report.page.model import Comparison, MetricRow, Overlay, Report, StageLine, Values
from stages.report.page.pictures import data_uri, overlay
from stages.report.page.style import CSS, JS

MOST = 200
"""Rows of a long list that are shown."""


def render(report: Report) -> str:
    """The page of a run."""
    parts = [
        f"<h1>{escape(report.title)}</h1><p class='soft'>made {escape(report.created)}</p>",
        *(f"<p class='note'>{escape(note)}</p>" for note in report.notes),
        _section("Figures", _figures(report)) if report.rows else "",
        _section("Tubes", "".join(map(_strip, report.overlays))) if report.overlays else "",
        _section("Flow", f"<div class='flow'>{''.join(map(_stage, report.stages))}</div>"),
        _section("Training", f"<div class='charts'>{charts}</div>") if (charts := _charts(report)) else "",
        _section("Videos", _videos(report)) if report.videos else "",
        _section("Words that the trained CLIP knows", _words(report)) if report.words else "",
        _section(f"Rejects ({len(report.rejects)})", _rejects(report)),
        _section("How it was made", _origin(report)),
    ]
    return document(report.title, "".join(parts))


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
    table = _table(["candidate", "runs", *names], rows, dict(comparison.protocols))
    listed = "".join(f"<li>{escape(run)}</li>" for run in comparison.runs)
    notes = "".join(f"<p class='note'>{escape(note)}</p>" for note in comparison.notes)
    body = f"<h1>{escape(comparison.title)}</h1>{notes}" + _section("Figures", table)
    body += _section("Runs", f"<ul>{listed}</ul>")
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


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _table(columns: Sequence[str], rows: Iterable[str], titles: dict[str, str] | None = None) -> str:
    """A sortable table; ``rows`` are HTML."""
    heads = "".join(
        f"<th scope='col' title='{escape((titles or {}).get(name, ''), quote=True)}'>"
        f"<button type='button'>{escape(name)}</button></th>"
        for name in columns
    )
    body = "".join(rows)
    return (
        f"<div class='card scroll'><table class='sortable'><thead><tr>{heads}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
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
    return _table(["candidate", *names], rows, dict(report.protocols)) + more


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


def _strip(found: Overlay) -> str:
    tag = f"<span class='tag'>{escape(found.note)}</span> " if found.note else ""
    pictures = "".join(
        f"<div><img alt='{escape(found.video, quote=True)} at {escape(time, quote=True)}' "
        f"src='{data_uri(overlay(rgb, labels))}'><span>{escape(time)}</span></div>"
        for (rgb, labels), time in zip(found.frames, found.times, strict=True)
    )
    head = f"<p>{tag}{escape(found.video)} <span class='soft'>{escape(found.score)}</span></p>"
    return f"{head}<div class='strip'>{pictures}</div>"


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
    return _capped(len(report.videos)) + _table(["video", *names], rows)


def _words(report: Report) -> str:
    columns = ("right", "chance", "majority")
    rows = []
    for row in report.words:
        cells = "".join(_number(_finite(row.values, name)) for name in columns)
        rows.append(f"<tr><td>{escape(row.candidate)}</td>{cells}</tr>")
    return "<p class='soft'>Zero-shot, on held-out sprites.</p>" + _table(["word", *columns], rows)


def _rejects(report: Report) -> str:
    if not report.rejects:
        return "<p class='soft'>None.</p>"
    rows = [
        f"<tr><td>{escape(line.video)}</td><td class='text'>{escape(line.stage)}</td>"
        f"<td class='text'>{escape(line.error_class)}</td><td class='wrap'>{escape(line.message)}</td></tr>"
        for line in report.rejects[:MOST]
    ]
    return _capped(len(report.rejects)) + _table(["video", "stage", "class", "message"], rows)


def _capped(count: int) -> str:
    return f"<p class='soft'>The first {MOST} of {count:,}.</p>" if count > MOST else ""


def _origin(report: Report) -> str:
    versions = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in report.versions.items())
    prints = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in report.fingerprints.items())
    settings = escape(json.dumps(report.config, indent=2, ensure_ascii=False))
    return (
        f"<div class='card'><details open><summary>Artifacts</summary><dl>{prints}</dl></details>"
        f"<details><summary>Versions</summary><dl>{versions}</dl></details>"
        f"<details><summary>Settings</summary><pre>{settings}</pre></details></div>"
    )
