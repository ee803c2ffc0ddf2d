"""What the server really holds, seen past the proxy: neither its faults nor its records are touched."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import s3fs

from tests.object_stores.server import settings

_DATA = r"[^/]+/[^/]+/(shards|manifest|rejects)/[^/.][^/]*"


class Content:
    """The objects below the address ``url`` on the server at ``port``."""

    def __init__(self, port: int, url: str) -> None:
        self._fs = s3fs.S3FileSystem(
            endpoint_url=settings(port)["AWS_ENDPOINT_URL_S3"], use_listings_cache=False
        )
        self.root = url.removeprefix("s3://")

    def names(self, pattern: str = ".*") -> list[str]:
        """Paths from the store, sorted, that match ``pattern`` from their beginning to their end."""
        found = (path[len(self.root) + 1 :] for path in self._fs.find(self.root))
        return sorted(name for name in found if re.fullmatch(pattern, name))

    def __getitem__(self, name: str) -> bytes:
        return bytes(self._fs.cat_file(f"{self.root}/{name}"))

    def __setitem__(self, name: str, data: bytes) -> None:
        self._fs.pipe_file(f"{self.root}/{name}", data)

    def __delitem__(self, name: str) -> None:
        self._fs.rm_file(f"{self.root}/{name}")

    def digests(self) -> dict[str, str]:
        """As `tests.cli.digests`."""
        return {name: hashlib.sha256(self[name]).hexdigest() for name in self.names(_DATA)}

    def manifests(self, kind: str) -> list[str]:
        """The manifests of all artifacts of ``kind``: one per committed shard."""
        return self.names(rf"{kind}/[^/]+/manifest/[^/]+\.parquet")

    def only(self, pattern: str) -> str:
        """The only name that matches."""
        (found,) = self.names(pattern)
        return found

    def latest_run(self) -> dict[str, Any]:
        """The status record of the latest run."""
        return dict(json.loads(self[self.names(r"runs/[^/]+/status\.json")[-1]]))

    def texts(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of every object."""
        for name in self.names():
            yield name, self[name]

    def copy_to(self, other: Content) -> None:
        """The same objects below another address."""
        for name in self.names():
            self._fs.cp_file(f"{self.root}/{name}", f"{other.root}/{name}")
