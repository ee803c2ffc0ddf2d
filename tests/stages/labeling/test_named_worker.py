"""Names of real tubes: both kinds of masks, merging, the text encoder's one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from stages.artifacts.layout import Artifact
from stages.decode.spec import DecodeSpec
from stages.labeling import naming
from stages.labeling.clip_model import ClipModel
from stages.labeling.clip_spec import ClipSpec
from stages.labeling.embeddings_stage import EmbeddingsStage
from stages.labeling.named_stage import NamedStage, names_of
from stages.labeling.prompts import prompts
from stages.labeling.text_cache import TEXT_FOLDER
from stages.labeling.vocabulary import Vocabulary
from stages.stage import WorkContext
from stages.tubes.reader import TubeShard
from stages.tubes.table import NAMED
from tests.measured import Measured
from tests.stages.labeling.named import clustered, items, made

Named = Callable[[NamedStage], tuple[Artifact, TubeShard]]

NAMES = Vocabulary(("a dog", "a square", "red"), ("grass", "sky"))


@pytest.fixture(scope="module")
def tubes(measured: Measured, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return clustered(measured, tmp_path_factory.mktemp("clustered"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def embeddings(measured: Measured, tubes: Artifact, store: Path, tiny_folder: Path) -> Artifact:
    stage = EmbeddingsStage(clip=ClipSpec(model=str(tiny_folder)), decode=DecodeSpec(fps="all"))
    return made(stage, tubes, measured, store, tubes=str(tubes.root))[0]


@pytest.fixture(scope="module")
def stage(tiny_folder: Path) -> NamedStage:
    return NamedStage(NAMES, ClipSpec(model=str(tiny_folder)), threshold=-1.0)


@pytest.fixture(scope="module")
def named(measured: Measured, tubes: Artifact, store: Path, embeddings: Artifact) -> Named:
    def run(stage: NamedStage) -> tuple[Artifact, TubeShard]:
        inputs = {"tubes": str(tubes.root), "embeddings": str(embeddings.root)}
        artifact, _ = made(stage, embeddings, measured, store, **inputs)
        return artifact, TubeShard(artifact, artifact.committed()[0])

    return run


def test_every_tube_gets_the_name_nearest_to_it(
    tubes: Artifact, embeddings: Artifact, stage: NamedStage, tiny: ClipModel, named: Named
) -> None:
    artifact, shard = named(stage)
    assert names_of(artifact.root) == NAMES.names
    text = tiny.text_features(prompts(NAMES.texts))
    table = pq.read_table(embeddings.shard(embeddings.committed()[0])).to_pylist()
    videos = [item["video"] for item in items(embeddings, embeddings.committed()[0])]
    assert shard.videos() == videos
    for video in videos:
        assert shard.kinds(video) == (NAMED, "cluster")
        sums = np.array([row["embedding"] for row in table if row["video"] == video], np.float32)
        wanted = naming.name_masks(naming.text_logits(torch.from_numpy(sums), text), NAMES, -1.0)
        raw = shard.tubes(video, "cluster").to_pylist()
        assert [row["label"] for row in raw] == [name.name for name in wanted]
        np.testing.assert_allclose(
            [[t["score"] for t in row["top"]] for row in raw],
            [[s for _, s in n.top] for n in wanted],
            rtol=1e-4,
        )
        before = TubeShard(tubes, tubes.committed()[0])
        np.testing.assert_array_equal(shard.label_map(video, "cluster"), before.label_map(video, "cluster"))


def test_merged_tubes_keep_what_they_are_made_of(stage: NamedStage, named: Named) -> None:
    _, shard = named(stage)
    fewer = 0
    for video in shard.videos():
        raw, merged = (shard.tubes(video, kind).to_pylist() for kind in ("cluster", NAMED))
        label = {row["tube"]: row["label"] for row in raw}
        assert sorted(m for row in merged for m in row["members"]) == sorted(label)
        for row in merged:
            assert len(row["members"]) == 1 or {label[m] for m in row["members"]} == {row["label"]}
            np.testing.assert_allclose(sum(row["classes"]), 1, rtol=1e-5)
        fewer += len(merged) < len(raw)
        union = shard.label_map(video, NAMED)
        of = {m: row["tube"] for row in merged for m in row["members"]}
        raw_map = shard.label_map(video, "cluster")
        np.testing.assert_array_equal(union, np.vectorize(lambda n, of=of: of.get(n, -1))(raw_map))
    assert fewer, "nothing was merged: the test shows nothing"


def test_without_merging_every_tube_stays(stage: NamedStage, named: Named) -> None:
    _, shard = named(replace(stage, merge=False))
    for video in shard.videos():
        assert shard.tubes(video, NAMED)["label"] == shard.tubes(video, "cluster")["label"]
        assert all(len(members) == 1 for members in shard.tubes(video, NAMED)["members"].to_pylist())


def test_what_no_name_fits_is_unnamed_and_one_may_be_kept(stage: NamedStage, named: Named) -> None:
    _, shard = named(replace(stage, threshold=1.0))
    _, kept = named(replace(stage, threshold=1.0, keep_one=True))
    for video in shard.videos():
        rows = shard.tubes(video, NAMED).to_pylist()
        assert {row["label"] for row in rows} == {naming.UNNAMED}
        assert all(row["label_score"] is None and len(row["top"]) == 3 for row in rows)
        labelled = [row for row in kept.tubes(video, NAMED).to_pylist() if row["label"] != naming.UNNAMED]
        assert len(labelled) == 1
        assert labelled[0]["label"] == labelled[0]["top"][0]["name"]


def test_the_text_encoder_runs_once(
    store: Path, stage: NamedStage, named: Named, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(stage)
    files = sorted((store / TEXT_FOLDER).glob("*.safetensors"))
    assert len(files) == 1, "other rules, the same names: one file"
    monkeypatch.setattr("stages.labeling.named_worker.load_clip", None)  # would fail if it were called
    named(replace(stage, threshold=0.2))
    with pytest.raises(TypeError):
        named(replace(stage, vocabulary=Vocabulary(("cat",))))


def test_a_name_that_the_text_encoder_cuts_off_is_told(store: Path, stage: NamedStage) -> None:
    long = "a very long name of more words than this encoder ever reads"
    cut = replace(stage, vocabulary=Vocabulary((long, "dog"), ()))
    told = f"CLIP reads only the beginning of 'a photo of {long}'"
    assert [told in sentence for sentence in cut.prepare(WorkContext("", store))] == [True]
    assert len(cut.prepare(WorkContext("", store))) == 1, "told again where the features are there"
    assert stage.prepare(WorkContext("", store)) == ()
