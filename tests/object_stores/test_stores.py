"""A store on S3 is used like a folder: same bytes, same answers, one PUT per object, manifests last."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from stages.features.store.reader import FeatureStore
from tests import cli
from tests.object_stores.conftest import FRAMES, SHARDS, VIDEOS, Base, Command
from tests.object_stores.proxy import Proxy

WRITES = ("put", "begin", "part", "complete", "delete", "delete_many")


def without_place(value: Any, place: object) -> Any:
    """``value`` with the store's place, run names and free space taken out."""
    return json.loads(json.dumps(value).replace(str(place), "STORE"))


def test_the_bytes_are_those_of_a_folder(base: Base, reference: Path) -> None:
    assert base.content.digests() == cli.digests(reference)
    assert base.result["totals"]["features"]["done"] == VIDEOS
    assert base.result["totals"]["catalog"]["rejected"] == 1


def test_every_object_is_one_put_and_the_manifest_is_the_last_of_its_shard(base: Base) -> None:
    done = [r for r in base.requests if r.action == "put" and r.status == 200]
    written = [r.key.partition("/store/")[2] for r in done]
    data = [name for name in written if "/shards/" in name or "/rejects/" in name or "/manifest/" in name]
    assert set(Counter(data).values()) == {1}
    manifests = [name for name in data if "/manifest/" in name]
    assert len(manifests) == 2 * SHARDS
    for manifest in manifests:
        artifact, _, shard = manifest.removesuffix(".parquet").partition("/manifest/")
        others = [n for n in data if n.startswith(f"{artifact}/") and f"/{shard}." in n and n != manifest]
        assert any("/shards/" in name for name in others)
        assert all(written.index(name) < written.index(manifest) for name in others)
    removed = {r.key.partition("/store/")[2] for r in base.requests if r.action == "delete"}
    assert not removed & set(data), "nothing is renamed or removed"
    assert {r.action for r in base.requests if r.action in WRITES} <= {"put", "delete"}


def test_what_must_not_be_made_twice_is_created_conditionally(base: Base) -> None:
    created = {r.key.partition("/store/")[2] for r in base.requests if r.conditional}
    assert sum(name.endswith("/plan/000000.parquet") for name in created) == 1
    assert sum(name.endswith("/stage.json") for name in created) >= 2


def test_a_second_run_does_nothing(base: Base, command: Command, proxy: Proxy) -> None:
    before = base.content.digests()
    assert "nothing to do" in cli.run(*command(base.url)).stdout
    assert {r.key for r in proxy.seen(*WRITES) if "/runs/" not in r.key and r.status == 200} == set()
    assert not proxy.seen("get", key=r"/shards/"), "no data is read to see that"
    assert base.content.digests() == before


def test_the_other_actions_answer_as_on_a_folder(
    base: Base, command: Command, reference: Path, proxy: Proxy
) -> None:
    for action in (["--plan"], ["--verify"], ["--explain", "empty"], ["--du"]):
        here = without_place(cli.run_json(*command(base.url, *action)), base.url)
        there = without_place(cli.run_json(*command(reference, *action)), reference)
        for answer in (here, there):
            answer.pop("free_bytes", None)
            answer["notes"] = [note for note in answer.get("notes", []) if not note.startswith("disk: ")]
            if action == ["--du"]:  # the records of runs and indexes are not the same size
                answer["artifacts"] = [{**a, "bytes": 0} for a in answer["artifacts"]]
                answer["bytes"] = 0
        assert here == there, action
        assert not proxy.seen(*WRITES), action
    status = cli.run_json(*command(base.url, "--status"))
    assert status["state"] == "finished"


def test_clips_are_read_by_few_ranges(base: Base, proxy: Proxy, reference: Path, tmp_path: Path) -> None:
    """Neighbouring frames come with one request; far ones of a small shard too; nobody asks for the rest."""
    folder = base.result["artifacts"]["features"]
    store = FeatureStore(folder, cache=tmp_path, verify=True)
    local = FeatureStore(reference / folder.removeprefix(base.url + "/"))
    video = store.videos[0]
    proxy.forget()
    clip = store.clip(video, [1, 2, 3])
    (asked,) = proxy.seen("get", key=r"/shards/")
    assert asked.range is not None
    first, last = asked.range
    assert last + 1 - first <= 2 * clip.nbytes + 4096
    assert np.array_equal(clip, local.clip(video, [1, 2, 3]))
    proxy.forget()
    scattered = FeatureStore(folder, cache=tmp_path, gap=0).clip(video, [0, 2, FRAMES - 1])
    assert len(proxy.seen("get", key=r"/shards/")) == 3, "no unwanted bytes with gap=0"
    assert np.array_equal(scattered, local.clip(video, [0, 2, FRAMES - 1]))
