from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from stages.discovery.baselines import KMeansMethod
from stages.discovery.registry import METHODS
from stages.evaluation.scores_stage import SCORES_SCHEMA, ScoresStage
from stages.evaluation.spec import MetricsSpec

SPEC = MetricsSpec(protocols=("fgari@video", "mbo@video"), baselines=("one", "kmeans"))


def stage(spec: MetricsSpec = SPEC, *baselines: str) -> ScoresStage:
    return ScoresStage(spec, tuple(METHODS[name]() for name in baselines))


def test_whatever_changes_a_score_changes_the_fingerprint() -> None:
    """Protocols, the evaluator's mistake, trivial rows, their options; equal settings are a cache hit."""
    kmeans = KMeansMethod()
    variants = [
        stage(),
        stage(dataclasses.replace(SPEC, protocols=("mbo@video", "fgari@video"))),
        stage(dataclasses.replace(SPEC, id_gap_bug=True)),
        stage(SPEC, "one"),
        stage(SPEC, "blocks"),
        stage(SPEC, "kmeans"),
        ScoresStage(SPEC, (dataclasses.replace(kmeans, clusters=kmeans.clusters + 1),)),
    ]
    prints = [variant.fingerprint(["tubes"]) for variant in variants]
    assert len(set(prints)) == len(prints)
    assert stage(SPEC, "one").fingerprint(["tubes"]) == prints[3] != stage(SPEC, "one").fingerprint(["other"])


def test_trivial_rows_are_told_apart_by_name() -> None:
    """``one`` and a method with equal options are different rows."""
    baselines = stage(SPEC, "one", "kmeans").identity()["fields"]["baselines"]
    assert ["one" in str(entry) for entry in baselines] == [True, False]


def test_it_is_guessed_to_be_small() -> None:
    frames, size = stage(SPEC, "one", "kmeans").estimate({"frames": 10_000, "video": "x"})
    assert frames == 0
    assert 0 < size < 2000


def test_shards_are_tables_of_scores(tmp_path: Path) -> None:
    writer = stage().writer(tmp_path / "x", "000000-00-00")
    row = {"video": "a", "candidate": "one", "protocol": "mbo@video", "object": None, "value": 0.5}
    row |= {"evidence": None}
    writer.add(row)  # type: ignore[attr-defined]
    writer.keep("a")
    with pytest.raises(ValueError, match="object"):
        writer.add({key: row[key] for key in row if key != "object"})  # type: ignore[attr-defined]
    written = writer.finish()
    assert written.rows.to_pylist() == [{"video": "a", "shard": "000000-00-00", "row": 0, "rows": 1}]
    assert SCORES_SCHEMA.names == ["video", "candidate", "protocol", "object", "value", "evidence"]
