"""Damage to committed files: ``--verify`` names it (exit 4), ``--verify --repair`` undoes just that."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.artifacts import manifest
from stages.features.store.reader import CorruptShardError, FeatureStore
from tests import cli
from tests.faults.conftest import Command
from tests.faults.stores import artifact, marks
from tests.media import make_corpus

SHARD = "000001-00"


@pytest.fixture
def store(reference: Path, tmp_path: Path) -> Path:
    """A complete store of its own."""
    shutil.copytree(reference, tmp_path / "store", copy_function=shutil.copy2)
    return tmp_path / "store"


def flip(path: Path, offset: int) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(bytes(data))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_in_the_middle(path: Path) -> None:
    flip(path, path.stat().st_size // 2)


def flip_rows(path: Path) -> None:
    column = pq.read_metadata(path).row_group(0).column(0)
    flip(path, (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 2)


def flip_footer(path: Path) -> None:
    flip(path, path.read_bytes().rindex(b'"sha256"'))


def cut_the_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


DAMAGES: list[tuple[str, str, Callable[[Path], None], str]] = [
    ("features", "shard", flip_in_the_middle, "its bytes have changed"),
    ("features", "shard", truncate, "bytes instead of"),
    ("features", "shard", Path.unlink, "the file is missing"),
    ("features", "manifest", truncate, "its manifest is damaged"),
    ("features", "manifest", flip_rows, "its manifest is damaged"),
    ("catalog", "manifest", flip_footer, "its manifest is damaged"),
    ("catalog", "shard", flip_in_the_middle, "its bytes have changed"),
    ("catalog", "shard", Path.unlink, "the file is missing"),
    ("catalog", "manifest", cut_the_end, "its manifest is damaged"),
]


@pytest.mark.parametrize(
    ("kind", "what", "harm", "problem"), DAMAGES, ids=[f"{k}-{w}-{h.__name__}" for k, w, h, _ in DAMAGES]
)
def test_damage_is_named_and_repaired(
    kind: str,
    what: str,
    harm: Callable[[Path], None],
    problem: str,
    command: Command,
    store: Path,
    reference: Path,
) -> None:
    found = artifact(store, kind)
    shard = SHARD if kind == "features" else SHARD[:-3]
    path: Path = getattr(found, what)(shard)
    pair = {str(p.relative_to(store)) for p in (found.shard(shard), found.manifest(shard))}
    harm(path)
    before = marks(store)
    looked = cli.run(*command(store), "--verify", "--json", code=4)
    (damaged,) = json.loads(looked.stdout)["damaged"]
    assert damaged["path"] == str(found.shard(shard))
    assert problem in damaged["problem"]
    assert str(path) in looked.stderr
    assert marks(store) == before, "looking changes nothing"
    cli.run(*command(store), "--verify", "--repair")
    assert cli.digests(store) == cli.digests(reference)
    after = marks(store)
    assert {name for name in after if after[name] != before.get(name)} <= pair


def test_the_video_whose_bytes_have_changed_is_named(command: Command, store: Path) -> None:
    found = artifact(store, "features")
    rows = manifest.read_rows(found, SHARD).to_pylist()
    hit = rows[-1]
    flip(found.shard(SHARD), hit["offset"] + hit["size"] - 3)
    looked = cli.run(*command(store), "--verify", "--json", code=4)
    (damaged,) = json.loads(looked.stdout)["damaged"]
    assert damaged["videos"] == [hit["video"]]
    assert hit["video"] in looked.stderr
    with pytest.raises(CorruptShardError, match="--verify --repair"):
        FeatureStore(found.root, verify=True).array(hit["video"])
    others = {row["video"] for row in rows} - {hit["video"]}
    assert all(FeatureStore(found.root, verify=True).array(video).size for video in others)


def test_several_damages_are_all_repaired(command: Command, store: Path, reference: Path) -> None:
    """A catalog shard, the shard of features made from it, and another one."""
    artifact(store, "catalog").shard("000001").unlink()
    artifact(store, "features").shard(SHARD).unlink()
    flip_in_the_middle(artifact(store, "features").shard("000003-00"))
    assert len(cli.run_json(*command(store), "--verify", code=4)["damaged"]) == 3
    report = cli.run_json(*command(store), "--verify", "--repair")
    assert len(report["repaired"]) == 3
    assert report["damaged"] == []
    assert cli.digests(store) == cli.digests(reference)
    assert "nothing to do" in cli.run(*command(store)).stdout


def test_a_repair_that_would_lose_videos_is_refused(corpus: Path, tmp_path: Path) -> None:
    """The source is gone: the damaged shard still holds the other video, so it stays."""
    root, store = tmp_path / "videos", tmp_path / "store"
    shutil.copytree(corpus, root)
    command = Command(root)
    cli.run(*command(store), "--limit", 4)
    shard = artifact(store, "features").shard(SHARD)
    intact = marks(store)
    flip_in_the_middle(shard)
    harmed = shard.read_bytes()
    gone = sorted(root.iterdir())[2]
    gone.rename(tmp_path / "elsewhere")
    refused = cli.run(*command(store), "--verify", "--repair", code=4)
    assert "can't be repaired" in refused.stderr
    assert gone.stem in refused.stderr
    assert shard.read_bytes() == harmed
    assert {n: m for n, m in marks(store).items() if m != intact[n]}.keys() == {str(shard.relative_to(store))}
    (tmp_path / "elsewhere").rename(gone)
    cli.run(*command(store), "--verify", "--repair")
    assert {n: m.digest for n, m in marks(store).items()} == {n: m.digest for n, m in intact.items()}


def test_a_lost_or_damaged_index_costs_nothing(command: Command, store: Path) -> None:
    """The consolidated index is a cache: gone, or full of rubbish, the manifests still say it all."""
    before = marks(store)
    artifact(store, "catalog").index_path.unlink()
    artifact(store, "features").index_path.write_bytes(b"rubbish")
    assert "nothing to do" in cli.run(*command(store)).stdout
    assert marks(store) == before
    for kind in ("catalog", "features"):
        assert pq.read_table(artifact(store, kind).index_path).num_rows == 8


def test_no_flipped_bit_of_a_manifest_is_read_as_something_else(store: Path) -> None:
    found = artifact(store, "features")
    path = found.manifest(SHARD)
    intact = path.read_bytes()
    footer, rows = manifest.read_footer(path), manifest.read_rows(found, SHARD)
    noticed = 0
    for offset in range(0, len(intact), 29):
        flip(path, offset)
        try:
            assert manifest.read_footer(path) == footer, offset
            assert manifest.read_rows(found, SHARD).equals(rows), offset
        except manifest.DamagedError:
            noticed += 1
        path.write_bytes(intact)
    assert noticed > len(intact) / 29 / 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_meets_damage_names_it(workers: int, command: Command, store: Path) -> None:
    """A run that needs a damaged file ends with exit 4 and says how to undo it."""
    manifest_path = artifact(store, "features").manifest(SHARD)
    shard_path = artifact(store, "catalog").shard("000001")
    artifact(store, "features").index_path.unlink()
    kept = manifest_path.read_bytes()
    for path in (manifest_path, shard_path):
        truncate(path)
        if path == shard_path:
            manifest_path.unlink()  # so that the catalog's rows are needed again
        ended = cli.run(*command(store, "--workers", workers), code=4)
        assert str(path) in ended.stderr
        assert "--verify --repair" in ended.stderr
        manifest_path.write_bytes(kept)


@pytest.mark.parametrize("harm", [truncate, flip_in_the_middle, Path.unlink])
def test_a_damaged_list_of_rejects_is_repaired(harm: Callable[[Path], None], tmp_path: Path) -> None:
    root = make_corpus(tmp_path / "videos", 1, frames=2)
    (root / "empty.mp4").touch()
    command = cli.features(root, tmp_path / "store", "--runner", "local")
    cli.run(*command, "--max-failed", 1)
    before = cli.digests(tmp_path / "store")
    path = artifact(tmp_path / "store", "catalog").rejects("000000")
    harm(path)
    looked = cli.run(*command, "--verify", code=4)
    assert f"its list of rejects is damaged: {path}" in looked.stderr
    cli.run(*command, "--verify", "--repair")
    assert cli.digests(tmp_path / "store") == before
