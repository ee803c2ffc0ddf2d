"""Names on the page: tubes with their names on frames, and the tables of the section Names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from stages.labeling.vocabulary import UNNAMED
from stages.report.page.html import capped, percent, section, table
from stages.report.page.model import LabelLine, Naming, Overlay, TubeLine
from stages.report.page.pictures import colour, data_uri, overlay, places

MOST_LABELS = 50
"""Names of the corpus that are listed."""
MOST_TUBES = 200
"""Tubes of shown videos that are listed."""
MOST_KEY = 24
"""Tubes that the key of a video lists."""


def strip(found: Overlay) -> str:
    """Frames of one video with its tubes, and where they have names the key of their colours."""
    tag = f"<span class='tag'>{escape(found.note)}</span> " if found.note else ""
    grey = {tube.tube for tube in found.tubes if tube.label == UNNAMED}
    named = [tube for tube in found.tubes if tube.tube not in grey]
    pictures = []
    for (rgb, labels), time in zip(found.frames, found.times, strict=True):
        spots = places(labels, [tube.tube for tube in named])
        names = "".join(_spot(tube, *spots[tube.tube]) for tube in named if tube.tube in spots)
        pictures.append(
            f"<div><div class='frame'><img alt='{escape(found.video, quote=True)} at "
            f"{escape(time, quote=True)}' src='{data_uri(overlay(rgb, labels, grey))}'>{names}</div>"
            f"<span>{escape(time)}</span></div>"
        )
    head = f"<p>{tag}{escape(found.video)} <span class='soft'>{escape(found.score)}</span></p>"
    return f"{head}<div class='strip'>{''.join(pictures)}</div>{_key(found, grey)}"


def names_section(naming: Naming, overlays: Sequence[Overlay]) -> str:
    """The section about names."""
    tubes = sum(line.tubes for line in naming.labels)
    unnamed = sum(line.tubes for line in naming.labels if line.label == UNNAMED)
    facts = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in naming.facts)
    said = f"{tubes:,} tubes in {naming.videos:,} videos; {tubes - unnamed:,} have a name."
    warning = f"<p class='note'>{escape(naming.warning)}</p>" if naming.warning else ""
    body = f"{warning}<p>{said}</p>{_labels(naming)}{_tubes(overlays)}"
    return section("Names", f"{body}<div class='card'><dl class='facts'>{facts}</dl></div>")


def _spot(tube: TubeLine, x: float, y: float) -> str:
    place = f"left:{100 * x:.1f}%;top:{100 * y:.1f}%"
    inside = f"transform:translate(-{100 * x:.1f}%,-{100 * y:.1f}%)"  # at an edge it would be cut off
    style = f"{place};{inside};border-color:{_css(tube.tube)}"
    return f"<span class='spot' style='{style}'>{escape(tube.label)}</span>"


def _key(found: Overlay, grey: Collection[int]) -> str:
    """Colour, name and probability of every tube."""
    if not found.tubes:
        return ""
    entries = "".join(
        f"<li><i style='background:{_css(tube.tube, grey)}'></i>{escape(tube.label)} "
        f"<span class='soft'>{percent(tube.score)}</span></li>"
        for tube in found.tubes[:MOST_KEY]
    )
    left = len(found.tubes) - MOST_KEY
    more = f"<li class='soft'>and {left:,} smaller tubes</li>" if left > 0 else ""
    return f"<ul class='key'>{entries}{more}</ul>"


def _css(tube: int, grey: Collection[int] = ()) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour(tube, grey).tolist())


def _labels(naming: Naming) -> str:
    rows = [_label(line) for line in naming.labels[:MOST_LABELS]]
    rest = naming.labels[MOST_LABELS:]
    more = ""
    if rest:
        tubes = sum(line.tubes for line in rest)
        more = f"<p class='soft'>And {len(rest):,} more names with {tubes:,} tubes.</p>"
    titles = {
        "frames": "in which tubes of that name have pixels, added up over tubes",
        "mean score": "mean probability of the name among all names looked for, in percent",
    }
    return table(["name", "tubes", "videos", "frames", "mean score"], rows, titles) + more


def _label(line: LabelLine) -> str:
    kind = " class='published'" if line.label == UNNAMED else ""
    return (
        f"<tr{kind}><td>{escape(line.label)}</td>"
        f"{''.join(f'<td data-value={n!r}>{n:,}</td>' for n in (line.tubes, line.videos, line.frames))}"
        f"{_score(line.score)}</tr>"
    )


def _tubes(overlays: Sequence[Overlay]) -> str:
    lines = [(found.video, tube) for found in overlays for tube in found.tubes]
    if not lines:
        return ""
    rows = [_tube(video, tube) for video, tube in lines[:MOST_TUBES]]
    columns = ["video", "tube", "name", "score", "frames", "best names", "background", "made of"]
    shown = capped(len(lines), MOST_TUBES) + table(columns, rows)
    return f"<details open><summary>Tubes of the videos shown</summary>{shown}</details>"


def _tube(video: str, tube: TubeLine) -> str:
    best = ", ".join(f"{name} {percent(score)}" for name, score in tube.top)
    made = ", ".join(str(member) for member in tube.members)
    return (
        f"<tr><td>{escape(video)}</td><td>{tube.tube}</td><td class='text'>{escape(tube.label)}</td>"
        f"{_score(tube.score)}<td>{tube.frames}</td><td class='wrap'>{escape(best)}</td>"
        f"<td class='text'>{escape(tube.background)}</td><td class='text'>{escape(made)}</td></tr>"
    )


def _score(value: float | None) -> str:
    return f"<td data-value='{'' if value is None else f'{value:.6f}'}'>{percent(value)}</td>"
