"""A whole recipe on two Ray nodes whose only common ground is the store on S3."""

from __future__ import annotations

import pytest

from tests import cli
from tests.cluster.nodes import started_nodes
from tests.measured import Measured, arguments
from tests.object_stores.content import Content
from tests.object_stores.proxy import Proxy


@pytest.mark.long
def test_nodes_share_nothing_but_the_store(
    measured: Measured, url: str, content: Content, proxy: Proxy
) -> None:
    """Shards, a training on Ray Train, tubes, scores and the page; the same bytes as on this disk."""
    asked = [str(part) for part in arguments(measured.data, url)]  # type: ignore[arg-type]
    at = asked.index("--runner")
    asked[at : at + 2] = []
    with started_nodes(2, **proxy.env) as nodes:
        command = (*asked, "--max-failed", 10, "--address", nodes.address, "--workers", 2)
        done = cli.run_json(*command, **{**nodes.env, "OMP_NUM_THREADS": "1"})
    assert done["totals"] == measured.result["totals"]
    assert content.digests() == cli.digests(measured.store)
    weights = content[content.only(r"model/[^/]+/(?!checkpoints)[^/]+/[^/]*\.safetensors")]
    (other,) = measured.store.glob("model/*/*/*.safetensors")
    assert weights == other.read_bytes()
    assert not [name for name in content.names() if "/.train/" in name or "/checkpoints/" in name]
