"""What a run has named, for the page: the names of the corpus, tubes of single videos, and who named them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stages.artifacts import whole
from stages.artifacts.layout import Artifact, read_stage_json
from stages.artifacts.ledger import Ledger
from stages.artifacts.place import Place, place
from stages.features.backbones.table import known_model
from stages.labeling.clip_spec import ClipSpec
from stages.labeling.prompts import prompts
from stages.labeling.spec import LabelSpec
from stages.labeling.text_cache import TEXT_FOLDER, known_text_features
from stages.labeling.vocabulary import Vocabulary
from stages.report.page.model import LabelLine, Naming, TubeLine
from stages.stage import WorkContext
from stages.tubes.reader import TubeStore
from stages.tubes.table import NAMED, tubes_of

_COLUMNS = ("tube", "frame", "area", "score", "label", "label_score")

LOOKS = {
    "crops": "crops around every mask",
    "patches": "patches of an adapted CLIP, pooled over every mask",
    "vanilla": "patches of CLIP as it is, pooled over every mask",
}
"""What CLIP looked at, by ``label.by``."""


def naming(context: WorkContext) -> Naming | None:
    """What the section about names shows; None for a run that names nothing."""
    if "named" not in context.inputs:
        return None
    folders = {kind: place(folder) for kind, folder in context.inputs.items()}
    settings: dict[str, Any] = dict(context.facts.get("settings", {}))
    label = settings.get("label")
    trained = "clip" in folders
    warning = None if trained or label is None else LabelSpec(**label).warning()
    store = TubeStore(folders["named"])
    facts = [*_clip(folders, label or {}), *_vocabulary(folders, context.scratch), *_found(folders, settings)]
    return Naming(count_labels(store), len(store.videos()), facts, warning)


def count_labels(store: TubeStore) -> list[LabelLine]:
    """One line per name that a tube has, most tubes first. Memory holds a few columns of one shard."""
    sums: dict[str, list[float]] = {}
    for part in store.parts(NAMED, _COLUMNS):
        for label, *figures in _by_label(tubes_of(part)):
            found = sums.setdefault(label, [0.0] * len(figures))
            sums[label] = [a + b for a, b in zip(found, figures, strict=True)]
    lines = [
        LabelLine(label, int(tubes), int(videos), int(frames), score / scored if scored else None)
        for label, (tubes, videos, frames, score, scored) in sums.items()
    ]
    return sorted(lines, key=lambda line: (-line.tubes, line.label))


def _by_label(tubes: pa.Table) -> Iterator[tuple[str, int, int, int, float, int]]:
    """Label, tubes, videos, frames, sum of scores, and how many have one."""
    grouped = tubes.group_by("label", use_threads=False).aggregate(
        [
            ("tube", "count"),
            ("video", "count_distinct"),
            ("frames", "sum"),
            ("label_score", "sum"),
            ("label_score", "count"),
        ]
    )
    for row in grouped.to_pylist():
        score = row["label_score_sum"] or 0.0
        yield (
            row["label"], row["tube_count"], row["video_count_distinct"], row["frames_sum"], score,
            row["label_score_count"],
        )  # fmt: skip


def tube_lines(store: TubeStore, video: str) -> list[TubeLine]:
    """The named tubes of a video, largest first."""
    tubes = store.tubes(video, NAMED)
    tubes = tubes.take(pc.sort_indices(tubes, [("area", "descending"), ("tube", "ascending")]))
    columns = ("tube", "frames", "label", "label_score", "top", "members", "background")
    return [
        TubeLine(
            row["tube"], row["frames"], row["label"], row["label_score"],
            [(entry["name"], entry["score"]) for entry in row["top"] or ()], row["members"] or (),
            row["background"] or "",
        )
        for row in tubes.select(columns).to_pylist()
    ]  # fmt: skip


def _clip(folders: Mapping[str, Place], label: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Which CLIP, which weights, what it looked at."""
    if "clip" in folders:
        yield "named by", f"a CLIP that this recipe trains, {folders['clip'].name}"
    elif label:
        weights = read_stage_json(folders["named"])["identity"]["fields"]["clip"]["weights"]
        yield "named by", f"CLIP {label['model']}, weights {label['weights']} ({weights})"
    if "embeddings" in folders:
        fields = read_stage_json(folders["embeddings"])["identity"]["fields"]
        step = fields["step"]
        which = "every stored frame" if step == 1 else f"stored frames 0, {step}, {2 * step} and so on"
        yield "looked at", f"{LOOKS[fields['by']]} (label.by={fields['by']}), in {which}"
    if label.get("by") == "patches":
        trained = folders["branch"] if "branch" in folders else label["branch"]
        yield "adapted branch", str(trained)


def _vocabulary(folders: Mapping[str, Place], store: Place) -> Iterator[tuple[str, str]]:
    fields = read_stage_json(folders["named"])["identity"]["fields"]
    vocabulary = Vocabulary(*(tuple(fields["vocabulary"][key]) for key in ("names", "background")))
    background = len(vocabulary.background)
    yield "vocabulary", f"{vocabulary.targets:,} names to look for, {background:,} of background"
    clip = fields["clip"] or ClipSpec(model=str(folders["clip"])).identity()
    texts = prompts(vocabulary.texts, fields["prompt"])
    known = known_text_features(store / TEXT_FOLDER, clip, texts, vocabulary.texts)
    if known is not None and known.truncated:
        yield "too long", f"CLIP reads only the beginning of {', '.join(map(repr, known.truncated))}"
    yield "merged", "tubes that touch and have the same name" if fields["merge"] else "nothing"


def _found(folders: Mapping[str, Place], settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What found the tubes: features, method, model."""
    if backbone := settings.get("backbone"):
        known = known_model(backbone["name"])
        video = known is not None and known.family.startswith("video")
        yield "features", f"{'a video' if video else 'an image'} backbone, {_weighted(backbone)}"
    if method := settings.get("method", {}).get("name"):
        options = settings.get(method, {})
        text = method
        if "joint" in options:
            shared = f"shared by the {options['frames']} frames of a clip"
            text += f", slots {shared if options['joint'] else 'of every frame alone'}"
        yield "found by", text
    yield "model", _model(folders, settings)


def _weighted(backbone: Mapping[str, Any]) -> str:
    known = known_model(backbone["name"])
    if known is not None and known.family == "patchstats":
        return f"{backbone['name']}, which has no weights"
    return f"{backbone['name']}, weights {backbone['weights']}"


def _model(folders: Mapping[str, Place], settings: Mapping[str, Any]) -> str:
    """Where the method's model comes from."""
    if given := settings.get("model"):
        return f"given: {given}"
    found = whole.files(folders["model"]) if "model" in folders else None
    if found is None:
        return "none: the method needs no training"
    videos = json.loads((found / "model.json").read_text())["videos"]
    there = Ledger.load(Artifact.at(folders["features"])).totals().done
    return f"trained by this recipe on {videos:,} of {max(videos, there):,} videos"
