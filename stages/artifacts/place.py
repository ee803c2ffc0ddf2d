"""Where a store lies: in a folder, or at an ``fsspec`` URL such as ``s3://bucket/prefix``.

A `Url` has those methods of `pathlib.Path` that make sense for objects: each is one or two requests, nothing
is remembered between them, and errors come as `StoreError` with a sentence for users. An object appears
whole or not at all, by one PUT or by a multipart upload that is completed; there are no renames and no
folders. Credentials come from where the file system's library looks for them, and are never passed on here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, TypeVar

import fsspec
from upath import UPath
from upath.extensions import ProxyUPath

_TRIES = 3
_FIRST_PAUSE_S = 1.0
_FINAL = {
    "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "ParamValidationError",
    "NoRegionError", "InvalidEndpointURLError", "NotImplementedError",
}  # fmt: skip
"""Errors of the libraries below that no patience helps against, by name: not all of them are installed."""
_SECRETS = re.compile(r"(\w://)(?:[^\s/@]*@)?([^\s?]*)(?:\?[^\s,;'\"]*)?")
"""The parts of an address: its start, user and password, host and path, and a query."""
_PRECONDITION_FAILED = {"PreconditionFailed", "412"}
_NOT_IMPLEMENTED = {"NotImplemented", "501", "InvalidArgument", "InvalidRequest", "400"}
"""What stores answer to a conditional PUT that they do not know."""
_CHANGED = ("LastModified", "last_modified", "mtime", "created")
"""What file systems call the time of an object's last change."""
_READ_BLOCK = 4 * 2**20

T = TypeVar("T")


class StoreError(OSError):
    """The store can't be written or reached. The message names the path and what to do."""


class Url(ProxyUPath):
    """A file or folder at an ``fsspec`` URL."""

    __slots__ = ()

    @property
    def fs(self) -> Any:
        """The file system, one per process: what a fork takes along is of no use there."""
        return fsspec.filesystem(self.protocol, **self.storage_options)

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether the object is there: asked of itself, never of a listing."""
        try:
            self._info()
        except FileNotFoundError:
            return False
        return True

    is_file = exists

    def is_dir(self) -> bool:
        """Whether there is anything below, as a listing shows it."""
        try:
            return bool(self.ask("look at", lambda: self.fs.info(self.path))["type"] == "directory")
        except FileNotFoundError:
            return False

    def stat(self, *, follow_symlinks: bool = True) -> Any:
        """``st_size`` in bytes, and ``st_mtime``: now where the store does not know it, so that nothing of
        unknown age is taken for old."""
        info = self._info()
        changed = next((info[key] for key in _CHANGED if info.get(key)), None) or time.time()
        mtime = changed.timestamp() if isinstance(changed, datetime) else float(changed)
        return SimpleNamespace(st_size=int(info["size"] or 0), st_mtime=mtime)

    def version(self) -> str:
        """See `version`."""
        info = self._info()
        return str(info.get("ETag") or info.get("etag") or [info.get(key) for key in (*_CHANGED, "size")])

    def read_bytes(self) -> bytes:
        """The whole object."""
        # s3fs would look first whether it is large enough for several requests
        options = {"max_concurrency": 1} if self.on_s3 else {}
        content: bytes = self.ask("read", lambda: self.fs.cat_file(self.path, **options))
        return content

    def read_text(
        self, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> str:
        """The whole object as text, UTF-8 unless told."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes from each start to its stop, all requested together."""
        starts, stops = [start for start, _ in ranges], [stop for _, stop in ranges]
        found: list[bytes] = self.ask(
            "read", lambda: self.fs.cat_ranges([self.path] * len(ranges), starts, stops, on_error="raise")
        )
        return found

    def reader(self) -> IO[bytes]:
        """A file that reads by ranges as it is sought through."""
        return self.ask("read", lambda: self.fs.open(self.path, "rb", block_size=_READ_BLOCK))

    def iterdir(self) -> Iterator[Url]:
        """What a listing shows now: never proof that something is missing, nor that it is still there.

        Raises:
            FileNotFoundError: nothing is below.
        """
        found = self.ask("list", lambda: self.fs.ls(self.path, detail=False))
        here = self.path.rstrip("/")
        return iter([self / name.rsplit("/", 1)[-1] for name in found if name.rstrip("/") != here])

    def glob(self, pattern: str, **_: Any) -> Iterator[Url]:
        """Objects below whose names match, from listings."""
        return self._urls(self.ask("list", lambda: self.fs.glob(f"{self.path.rstrip('/')}/{pattern}")))

    def files(self) -> dict[str, int]:
        """All objects below: their sizes in bytes by path from here, from a listing."""
        found = self.ask("list", lambda: self.fs.find(self.path, detail=True))
        start = len(self.path.rstrip("/")) + 1
        return {
            name[start:]: int(info["size"] if info["size"] is not None else self._size(name))
            for name, info in sorted(found.items())
        }

    def _size(self, path: str) -> int:
        """Of an object that a listing (of a web server, say) tells no size of."""
        return int(self.ask("look at", lambda: self.fs.size(path)) or 0)

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: folders are there once something is in them."""

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        try:
            self.ask("remove", lambda: self.fs.rm_file(self.path))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_tree(self) -> None:
        """Remove all objects below."""
        for name in self.files():
            (self / name).unlink(missing_ok=True)

    def put(self, data: bytes) -> None:
        """Write or replace the object: readers see the old one or the new one."""
        self._write(lambda: self.fs.pipe_file(self.path, data))

    def put_new(self, data: bytes) -> bool:
        """Write the object unless it is there; of several processes that try, one succeeds. Says whether the
        object is what this one wrote.
        """
        try:
            self._write(lambda: self._create(data))
        except FileExistsError:  # or the answer was lost and the request repeated: then the object is ours
            try:
                return self.read_bytes() == data
            except FileNotFoundError:  # removed this moment
                return False
        return True

    def _create(self, data: bytes) -> None:
        try:
            self.fs.pipe_file(self.path, data, mode="create")
        except OSError as error:
            code = _code(error)
            if code in _PRECONDITION_FAILED:
                raise FileExistsError(str(self)) from error
            if code not in _NOT_IMPLEMENTED:
                raise
            if self.exists():  # the next best that such a store can do
                raise FileExistsError(str(self)) from error
            self.fs.pipe_file(self.path, data)

    def put_file(self, file: Path) -> None:
        """Write or replace the object by the content of a local file."""
        self._write(lambda: self.fs.put_file(str(file), self.path))

    def fetch(self, file: Path) -> None:
        """Copy the object to a local file."""
        self.ask("read", lambda: self.fs.get_file(self.path, str(file)))

    def _urls(self, names: list[str]) -> Iterator[Url]:
        start = len(self.path.rstrip("/")) + 1
        return iter([self.joinpath(*name[start:].split("/")) for name in names])

    @property
    def on_s3(self) -> bool:
        """Whether the store speaks the protocol of S3."""
        return self.protocol in ("s3", "s3a")

    def _info(self) -> dict[str, Any]:
        """What the store knows of the object; folders are none."""
        found = self.ask("look at", self._head if self.on_s3 else lambda: self.fs.info(self.path))
        if found.get("type") == "directory":
            raise FileNotFoundError(errno.ENOENT, "no object", str(self))
        return dict(found)

    def _head(self) -> dict[str, Any]:
        """One request: s3fs would list what is below a missing object, to see whether it is a folder."""
        bucket, key, _ = self.fs.split_path(self.path)
        found = self.fs.call_s3("head_object", Bucket=bucket, Key=key)
        return {**found, "size": found["ContentLength"]}

    def _write(self, call: Callable[[], Any]) -> None:
        try:
            self.ask("write", call)
        except FileNotFoundError as error:
            raise StoreError(
                f"can't write {self}: {_told(error)}; create the bucket, or choose another store with "
                "--set store=URL"
            ) from None

    def ask(self, verb: str, call: Callable[[], T]) -> T:
        """The answer of ``call``, which has to ``verb`` the object, with patience for what may pass."""
        for tries in range(1, _TRIES + 1):
            try:
                return call()
            except (FileNotFoundError, FileExistsError, StoreError):
                raise
            except Exception as error:
                if (advice := _advice(error)) or tries == _TRIES:
                    advice = advice or "is the address right, and the store up? the same command goes on"
                    raise StoreError(f"can't {verb} {self}: {_told(error)}; {advice}") from error
                time.sleep(_FIRST_PAUSE_S * 4 ** (tries - 1) * random.uniform(0.5, 1.5))
        raise AssertionError("not reached")


Place = Path | Url


def place(where: str | os.PathLike[str] | Url) -> Place:
    """The folder or URL that ``where`` names; a folder is not made absolute.

    Raises:
        ImportError, ValueError: there is no file system for the URL's protocol.
    """
    if isinstance(where, Path | Url):
        return where
    where = os.fspath(where)
    protocol, found, rest = where.partition("://")
    if not found:
        return Path(where)
    if protocol in ("file", "local"):
        return Path(rest)
    return Url(UPath(where, use_listings_cache=False))


def matches(folder: Place, pattern: str) -> list[Place]:
    """What is below ``folder`` with a name like ``pattern``, sorted by name."""
    found: list[Place] = list(folder.glob(pattern))
    return sorted(found, key=str)


def version(path: Place) -> str:
    """What changes when the file is replaced; two files are told apart by their paths, not by this.

    Raises:
        FileNotFoundError: it is not there.
    """
    if isinstance(path, Url):
        return path.version()
    return str(path.stat().st_mtime_ns)


def size_below(folder: Place) -> int:
    """Bytes of all files below ``folder``."""
    if isinstance(folder, Url):
        return sum(folder.files().values())
    return extent(folder)[0]


def extent(folder: Path) -> tuple[int, float]:
    """Bytes of all files below ``folder``, and when the latest of them was written; living runs may remove
    some meanwhile."""
    size, latest = 0, 0.0
    for base, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                stat = Path(base, name).stat()
                size, latest = size + stat.st_size, max(latest, stat.st_mtime)
    return size, latest


def remove_tree(folder: Place) -> None:
    """Remove all files below ``folder``, as far as they can be."""
    if isinstance(folder, Url):
        folder.remove_tree()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def opened(path: Place) -> IO[bytes]:
    """The file for reading; at a URL its ranges come as it is sought through."""
    return path.open("rb") if isinstance(path, Path) else path.reader()


def whole_file(path: Place) -> Any:
    """The file as pyarrow's readers take it, for reading all of it: a path, or its bytes."""
    return path if isinstance(path, Path) else BytesIO(path.read_bytes())


def parts_of_file(path: Place) -> Any:
    """The file as pyarrow's readers take it, for reading some of it: a path, or a file of ranges."""
    return path if isinstance(path, Path) else path.reader()


def _advice(error: Exception) -> str:
    """What to do about an error that will not pass by itself; "" for others."""
    if isinstance(error, PermissionError) or type(error).__name__ in _FINAL:
        rights = "check the credentials and the rights they give (on S3 s3:ListBucket is one)"
        return f"{rights}, or choose another store with --set store=URL"
    if isinstance(error, ImportError):
        return "install it, or choose another store with --set store=URL"
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return "choose a shorter store with --set store=URL"
    return ""


def _code(error: OSError) -> str:
    """S3's own name of the error, or ""."""
    response = getattr(error.__cause__, "response", {})
    return str(response.get("Error", {}).get("Code", ""))


def _told(error: Exception) -> str:
    """What ``error`` says, without what addresses may carry of passwords and signatures."""
    text = _SECRETS.sub(r"\1\2", " ".join(str(error).split()))
    return text[:300] or type(error).__name__
