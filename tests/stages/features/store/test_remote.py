"""Reading over HTTP (a range server on loopback, for the time of a test) and over other fsspec URLs."""

import http.server
import pickle
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from stages.features.store import locate
from stages.features.store.reader import CorruptShardError, FeatureStore
from tests.stages.features.store.making import make_store, write_shard

SHAPES = {"tokens": (196, 384), "cls": (384,)}
SHARDS = [{"a": 6, "b": 2}, {"c": 4}]


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, honouring ``Range: bytes=a-b``, and notes what was asked for."""

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        path = Path(self.translate_path(self.path))
        self.server.requests.append((path.name, wanted))
        if wanted is None or not path.is_file() or not self.server.honours_ranges:
            super().do_GET()
            return
        first, last = (int(n) for n in wanted.removeprefix("bytes=").split("-"))
        data = path.read_bytes()
        body = data[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    honours_ranges = True

    def __init__(self, folder: Path) -> None:
        self.requests: list[tuple[str, str | None]] = []
        super().__init__(("127.0.0.1", 0), lambda *a: RangeHandler(*a, directory=str(folder)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "www").mkdir()
    server = Server(tmp_path / "www")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("encoding", ["fp16", "int8"])
def test_http_gives_what_the_folder_gives(
    tmp_path: Path, server: Server, indexed: bool, encoding: str
) -> None:
    root = make_store(tmp_path / "www" / "store", SHARDS, SHAPES, ("base", "flip"), encoding).root
    local = FeatureStore(root, cache=None if indexed else tmp_path / "elsewhere")
    remote = FeatureStore(f"{server.url}/store", verify=True)
    manifests = [name for name, _ in server.requests if name.startswith("features-") and "." in name]
    assert bool(manifests) is not indexed  # the index of the server is copied where there is one
    assert list(remote.videos) == list(local.videos)
    assert (remote.facets, remote.views) == (local.facets, local.views)
    for video in local.videos:
        for facet in SHAPES:
            for frames in (None, [0], [1, 0, 1]):
                np.testing.assert_array_equal(
                    remote.array(video, frames, facet, "flip"), local.array(video, frames, facet, "flip")
                )
    assert not [name for name, wanted in server.requests if name.endswith(".tar") and wanted is None]


def test_five_frames_are_one_request_and_little_more_than_their_bytes(tmp_path: Path, server: Server) -> None:
    make_store(tmp_path / "www" / "store", SHARDS, SHAPES)
    remote = FeatureStore(f"{server.url}/store")
    server.requests.clear()
    remote.clip("a", range(1, 6))
    assert [name for name, _ in server.requests] == ["features-000000.tar"]
    assert remote.gauge.needed == 5 * 196 * 384 * 2
    assert remote.gauge.read <= 1.01 * remote.gauge.needed


def test_gaps_are_read_through_up_to_the_limit_only(tmp_path: Path, server: Server) -> None:
    make_store(tmp_path / "www" / "store", SHARDS, SHAPES)
    for gap, requests in ((None, 1), (100_000, 3)):
        remote = FeatureStore(f"{server.url}/store", gap=gap)
        server.requests.clear()
        remote.clip("a", [0, 2, 4])
        assert len(server.requests) == requests
        assert (remote.gauge.ratio == 1.0) is (requests == 3)


def test_a_server_without_ranges_is_found_out(tmp_path: Path, server: Server) -> None:
    make_store(tmp_path / "www" / "store", SHARDS, SHAPES)
    remote = FeatureStore(f"{server.url}/store")
    server.honours_ranges = False
    with pytest.raises(CorruptShardError, match="does not answer range requests"):
        remote.clip("a", [0])


def test_what_is_not_there_is_named(tmp_path: Path, server: Server) -> None:
    with pytest.raises(FileNotFoundError, match=r"/nothing is no artifact"):
        FeatureStore(f"{server.url}/nothing")
    root = make_store(tmp_path / "www" / "store", SHARDS, SHAPES).root
    remote = FeatureStore(f"{server.url}/store")
    (root / "shards" / "features-000001.tar").unlink()
    with pytest.raises(FileNotFoundError, match=r"features-000001\.tar of video c is not there"):
        remote.clip("c")


def test_a_cached_index_is_kept_until_the_store_grows(tmp_path: Path, server: Server) -> None:
    artifact = make_store(tmp_path / "www" / "store", SHARDS, SHAPES)
    cache = tmp_path / "cache"
    FeatureStore(f"{server.url}/store", cache=cache)
    server.requests.clear()
    assert list(FeatureStore(f"{server.url}/store", cache=cache).videos) == ["a", "b", "c"]
    assert not [name for name, _ in server.requests if name.endswith((".parquet", ".arrow"))]
    write_shard(artifact, "000002", {"d": 1}, SHAPES)
    assert list(FeatureStore(f"{server.url}/store", cache=cache).videos) == ["a", "b", "c", "d"]


def test_a_pickled_remote_store_reads_on(tmp_path: Path, server: Server) -> None:
    make_store(tmp_path / "www" / "store", SHARDS, SHAPES)
    remote = FeatureStore(f"{server.url}/store")
    copy = pickle.loads(pickle.dumps(remote))
    np.testing.assert_array_equal(copy.array("c", [1]), remote.array("c", [1]))


def test_any_fsspec_url_will_do(tmp_path: Path) -> None:
    root = make_store(tmp_path / "store", SHARDS, SHAPES).root
    local = FeatureStore(root)
    shutil.rmtree(root / locate.FOLDER)
    memory = fsspec.filesystem("memory")
    memory.put(str(root), "/tubeflow-test", recursive=True)
    try:
        for url in ("memory://tubeflow-test", f"file://{root}"):
            store = FeatureStore(url)
            for video in local.videos:
                np.testing.assert_array_equal(store.array(video, [1, 0]), local.array(video, [1, 0]))
    finally:
        memory.rm("/tubeflow-test", recursive=True)
