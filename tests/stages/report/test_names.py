"""Names on the page, against the tubes of a real small run and its stages."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
import torch

from stages.labeling.clip_spec import ClipSpec
from stages.labeling.prompts import prompts
from stages.labeling.text_cache import TEXT_FOLDER, TextFeatures, cached_text_features
from stages.labeling.vocabulary import Vocabulary
from stages.report.names import count_labels, naming, tube_lines
from stages.stage import WorkContext
from stages.tubes.reader import TubeStore, read_tubes
from tests.measured import Measured
from tests.named import VOCABULARY

LABEL = {"model": "ViT-B-16", "weights": "random", "by": "crops"}


@pytest.fixture
def context(measured: Measured, named: Path, tmp_path: Path) -> WorkContext:
    kinds = ("catalog", "features", "tubes", "model")
    inputs = {kind: str(measured.artifact(kind)) for kind in kinds} | {"named": str(named)}
    settings = {
        "label": LABEL,
        "backbone": {"name": "patchstats", "weights": "hub"},
        "method": {"name": "vol"},
        "vol": {"joint": True, "frames": 8},
    }
    return WorkContext(str(measured.data), tmp_path, inputs=inputs, facts={"settings": settings})


def test_names_are_counted_over_the_corpus(named: Path) -> None:
    tubes = read_tubes(named, "named").to_pylist()
    found = defaultdict(list)
    for tube in tubes:
        found[tube["label"]].append(tube)
    lines = {line.label: line for line in count_labels(TubeStore(named))}
    assert set(lines) == set(found) and "unnamed" in lines and VOCABULARY[3] not in lines
    for label, mine in found.items():
        line = lines[label]
        assert (line.tubes, line.videos) == (len(mine), len({tube["video"] for tube in mine}))
        assert line.frames == sum(tube["frames"] for tube in mine)
        scores = [tube["label_score"] for tube in mine]
        expected = None if label == "unnamed" else pytest.approx(sum(scores) / len(mine), rel=1e-6)
        assert line.score == expected
    assert [line.tubes for line in lines.values()] == sorted((len(t) for t in found.values()), reverse=True)


def test_tubes_of_a_video_say_all_that_is_known(named: Path) -> None:
    store = TubeStore(named)
    seen = []
    for video in store.videos():
        lines = tube_lines(store, video)
        rows = {row["tube"]: row for row in store.tubes(video, "named").to_pylist()}
        areas = [rows[line.tube]["area"] for line in lines]
        assert len(areas) == len(rows) and areas == sorted(areas, reverse=True)
        for line in lines:
            row = rows[line.tube]
            assert (line.label, line.frames, list(line.members)) == (
                row["label"],
                row["frames"],
                row["members"],
            )
            seen.append(line)
    known = next(line for line in seen if line.label == VOCABULARY[1])
    assert known.top[0] == (VOCABULARY[1], pytest.approx(0.7)) and len(known.top) == 4
    assert (known.score, known.background) == (pytest.approx(0.7), "")
    unknown = next(line for line in seen if line.label == "unnamed")
    assert (unknown.score, unknown.background) == (None, "grass")


def test_who_named_and_who_found(context: WorkContext) -> None:
    found = naming(context)
    assert found is not None
    facts = dict(found.facts)
    assert facts["named by"] == "CLIP ViT-B-16, weights random (random:0)"
    assert facts["vocabulary"] == "4 names to look for, 86 of background"
    assert facts["features"] == "an image backbone, patchstats, which has no weights"
    assert facts["found by"] == "vol, slots shared by the 8 frames of a clip"
    assert facts["model"] == "trained by this recipe on 6 of 6 videos"
    assert found.warning is not None and found.warning.startswith("THE NAMES MEAN NOTHING")
    assert found.videos == 5


def test_names_that_clip_reads_in_part_are_told(context: WorkContext) -> None:
    facts = dict(naming(context).facts)  # type: ignore[union-attr]
    assert "too long" not in facts
    texts = Vocabulary(VOCABULARY).texts
    made = TextFeatures(torch.ones(len(texts), 2), ("a photo of zebra",))
    folder, clip = context.scratch / TEXT_FOLDER, ClipSpec(weights="random").identity()
    cached_text_features(folder, clip, prompts(texts), texts, lambda _: made)
    facts = dict(naming(context).facts)  # type: ignore[union-attr]
    assert facts["too long"] == "CLIP reads only the beginning of 'a photo of zebra'"


def test_a_model_that_was_given_or_not_needed(context: WorkContext) -> None:
    settings = context.facts["settings"]
    settings["model"] = "/models/vol-1"
    assert dict(naming(context).facts)["model"] == "given: /models/vol-1"  # type: ignore[union-attr]
    settings["model"] = ""
    without = {kind: folder for kind, folder in context.inputs.items() if kind != "model"}
    found = naming(WorkContext("", context.scratch, inputs=without, facts=context.facts))
    assert dict(found.facts)["model"] == "none: the method needs no training"  # type: ignore[union-attr]


def test_a_clip_that_the_recipe_trains_is_said_and_never_warned_of(context: WorkContext) -> None:
    inputs = {**context.inputs, "clip": "/store/clip/tiny-12345678"}
    found = naming(WorkContext("", context.scratch, inputs=inputs, facts=context.facts))
    assert found is not None and found.warning is None
    assert dict(found.facts)["named by"] == "a CLIP that this recipe trains, tiny-12345678"


def test_a_run_that_names_nothing_has_no_names(measured: Measured, tmp_path: Path) -> None:
    inputs = {"tubes": str(measured.artifact("tubes"))}
    assert naming(WorkContext("", tmp_path, inputs=inputs)) is None
