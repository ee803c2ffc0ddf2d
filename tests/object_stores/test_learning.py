"""Trainings, tubes, scores and the page with the store on S3: what comes out is what a folder holds."""

from __future__ import annotations

import json

from tests import cli
from tests.measured import Measured, arguments
from tests.object_stores.content import Content
from tests.object_stores.proxy import Proxy


def test_the_whole_flow(measured: Measured, url: str, content: Content, proxy: Proxy) -> None:
    asked = (*arguments(measured.data, url), "--max-failed", 10)  # type: ignore[arg-type]
    done = cli.run_json(*asked, OMP_NUM_THREADS="1")
    assert done["totals"] == measured.result["totals"]
    assert content.digests() == cli.digests(measured.store)
    name = content.only(r"metrics/[^/]+/[^/]+/metrics\.json")
    (other,) = measured.store.glob("metrics/*/*/metrics.json")
    assert json.loads(content[name])["values"] == json.loads(other.read_text())["values"]
    page = content[content.only(r"report/[^/]+/[^/]+/report\.html")]
    assert b"<html" in page
    assert "nothing to do" in cli.run(*asked).stdout

    segmented = [
        "segment", "--set", f"model={done['artifacts']['model']}", "--set", f"data.root={measured.data}",
        "--set", f"store={url}", "--runner", "local", "--max-failed", 10,
    ]  # fmt: skip
    again = cli.run_json(*segmented, OMP_NUM_THREADS="1")
    assert again["totals"]["tubes"]["done"] == again["totals"]["features"]["done"] > 0
    written = [request for request in proxy.seen("put", key=r"/features/") if "/shards/" in request.key]
    assert len(written) == len(content.manifests("features")), "made once, for both runs"
    fetched = proxy.seen("get", key=r"/model/[^/]+/(?!checkpoints)[^/]+/[^/]*\.safetensors")
    assert len(fetched) == len({request.key for request in fetched}) > 0, "once per machine, for both runs"
