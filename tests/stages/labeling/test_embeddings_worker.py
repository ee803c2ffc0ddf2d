"""What CLIP sees of real tubes, against the same computed directly on decoded frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from stages.artifacts.layout import Artifact
from stages.catalog.decoding import decode_rows
from stages.catalog.rows import catalog_rows
from stages.decode.client import DecoderClient
from stages.decode.spec import DecodeSpec, Geometry
from stages.errors import SettingsError
from stages.labeling.clip_model import ClipModel
from stages.labeling.clip_patches import PatchTower
from stages.labeling.clip_spec import ClipSpec
from stages.labeling.crop_box import crop_embeddings
from stages.labeling.embeddings_stage import EmbeddingsStage, fit_fingerprint
from stages.outcome import Rejected
from stages.stage import Limits, MemoryAttempts
from stages.tubes.reader import TubeShard
from tests.measured import FRAMES, Measured
from tests.stages.labeling.named import clustered, items, made

DECODE = DecodeSpec(fps="all")


@pytest.fixture(scope="module")
def stage(tiny_folder: Path) -> EmbeddingsStage:
    return EmbeddingsStage(clip=ClipSpec(model=str(tiny_folder)), decode=DECODE)


@pytest.fixture(scope="module")
def tubes(measured: Measured, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return clustered(measured, tmp_path_factory.mktemp("clustered"))


def rows_of(artifact: Artifact, video: str) -> dict[int, tuple[int, np.ndarray]]:
    table = pq.read_table(artifact.shard(artifact.committed()[0]))
    rows = [row for row in table.to_pylist() if row["video"] == video]
    return {row["tube"]: (row["frames"], np.array(row["embedding"], np.float32)) for row in rows}


def frames_of(measured: Measured, video: str, shard: str, geometry: Geometry) -> np.ndarray:
    row = catalog_rows(str(measured.artifact("catalog")), shard)[video]
    client = DecoderClient(Limits())
    (decoded,) = decode_rows(client, str(measured.data), [row], DECODE, geometry, 4, MemoryAttempts())
    found = np.concatenate([chunk.rgb for chunk in decoded])
    client.close()
    return found


def test_crops_are_those_of_the_masks(
    measured: Measured, tubes: Artifact, stage: EmbeddingsStage, tiny: ClipModel, tmp_path: Path
) -> None:
    artifact, outcomes = made(replace(stage, margin=0.2), tubes, measured, tmp_path, tubes=str(tubes.root))
    first = items(tubes, tubes.committed()[0])[0]
    video, shard = first["video"], tubes.committed()[0]
    assert len(outcomes) == len(items(tubes, shard))
    masks = TubeShard(tubes, shard).masks(video, "cluster")
    frames = frames_of(measured, video, shard, Geometry())
    mean, seen = crop_embeddings(
        tiny.image_embedding, frames, np.stack(list(masks.values())), tiny.size, tiny.width, 0.2
    )
    found = rows_of(artifact, video)
    assert found.keys() == masks.keys() and len(found) > 1
    for place, tube in enumerate(masks):
        frames_seen, sums = found[tube]
        assert frames_seen == seen[place].sum()
        np.testing.assert_allclose(sums, mean[place].numpy() * frames_seen, atol=1e-4)


def test_patches_are_pooled_over_the_masks_and_frames_may_be_left_out(
    measured: Measured, tubes: Artifact, stage: EmbeddingsStage, tiny: ClipModel, tmp_path: Path
) -> None:
    artifact, _ = made(
        replace(stage, by="vanilla", size=32, step=2), tubes, measured, tmp_path, tubes=str(tubes.root)
    )
    shard = tubes.committed()[0]
    video = items(tubes, shard)[0]["video"]
    frames = frames_of(measured, video, shard, Geometry(32, 8))[::2]
    images = tiny.normalise(torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255)
    plain = PatchTower(tiny.visual)(images).plain.numpy()
    rows, columns = frames.shape[1] // 8, frames.shape[2] // 8
    for tube, mask in TubeShard(tubes, shard).masks(video, "cluster").items():
        height, width = mask.shape[1:]
        y = ((np.arange(rows) + 0.5) * height / rows).astype(int)
        x = ((np.arange(columns) + 0.5) * width / columns).astype(int)
        patches = mask[::2][:, y[:, None], x].reshape(len(frames), -1)
        frames_seen, sums = rows_of(artifact, video)[tube]
        assert frames_seen == patches.any(axis=1).sum() <= -(-FRAMES // 2)
        np.testing.assert_allclose(sums, (plain * patches[..., None]).sum(axis=(0, 1)), atol=1e-4)


def test_a_file_that_changed_is_a_reject_of_its_own(
    measured: Measured, tubes: Artifact, stage: EmbeddingsStage, tmp_path: Path
) -> None:
    import shutil

    moved = tmp_path / "moved"
    shutil.copytree(measured.data, moved)
    shard = tubes.committed()[0]
    victim = items(tubes, shard)[1]["video"]
    uri = catalog_rows(str(measured.artifact("catalog")), shard)[victim]["uri"]
    (changed,) = [path for path in moved.glob("*.mp4") if path.name == "late.mp4" or path.name == uri][:1]
    changed.write_bytes(changed.read_bytes()[:-100])
    other = Measured(moved, measured.store, measured.arguments, measured.result)
    _, outcomes = made(stage, tubes, other, tmp_path / "store", tubes=str(tubes.root))
    rejected = [o for o in outcomes if isinstance(o, Rejected)]
    assert [o.error_class for o in rejected] == ["unreadable"]
    assert len(outcomes) == len(items(tubes, shard))


def test_what_it_is_called_and_what_makes_it_another(stage: EmbeddingsStage, tmp_path: Path) -> None:
    assert stage.name == "crops"
    assert stage.fingerprint() == replace(stage, size=64).fingerprint(), "crops have no patches"
    assert stage.fingerprint() != replace(stage, margin=0.1).fingerprint()
    assert stage.fingerprint() != replace(stage, by="vanilla").fingerprint()
    with pytest.raises(SettingsError, match=r"label\.branch=.*no artifact there"):
        fit_fingerprint(str(tmp_path), "branch")
