"""What the engine asks of a store: the same answers from a folder, ``memory://`` and S3, and few requests."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages.artifacts import atomic, leases, scratch
from stages.artifacts.place import (
    Place,
    StoreError,
    Url,
    matches,
    opened,
    place,
    remove_tree,
    size_below,
    whole_file,
)
from stages.artifacts.place import version as version_of
from tests.object_stores import faults
from tests.object_stores.content import Content
from tests.object_stores.proxy import Proxy, Rule, error
from tests.object_stores.server import PAGE


@pytest.fixture(params=["folder", "memory", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where nothing lies yet."""
    if request.param == "folder":
        yield tmp_path / "store"
    elif request.param == "s3":
        yield place(request.getfixturevalue("url"))
    else:
        memory = place(f"memory://{uuid.uuid4().hex}/store")
        yield memory
        remove_tree(memory)


def url_of(text: str) -> Url:
    """The URL as the engine opens it."""
    found = place(text)
    assert isinstance(found, Url)
    return found


def test_what_is_missing_is_missing_whatever_is_asked(root: Place) -> None:
    atomic.write_bytes(root / "kind" / "a", b"something else")
    path = root / "kind" / "b"
    assert not path.exists() and not path.is_file() and not path.is_dir()
    for ask in (path.read_bytes, path.read_text, path.stat, lambda: version_of(path), lambda: opened(path)):
        with pytest.raises(FileNotFoundError):
            ask()
    with pytest.raises(FileNotFoundError):
        list((root / "other").iterdir())
    path.unlink(missing_ok=True)
    assert matches(root / "other", "*") == []


def test_a_file_is_read_back_replaced_and_removed(root: Place) -> None:
    path = root / "kind" / "a.json"
    atomic.write_bytes(path, b"{1}")
    assert path.exists() and path.is_file() and not path.is_dir()
    assert (root / "kind").is_dir() and not (root / "kind").is_file()
    assert (path.read_bytes(), path.read_text(), path.stat().st_size) == (b"{1}", "{1}", 3)
    assert abs(path.stat().st_mtime - time.time()) < 60
    with opened(path) as file:
        file.seek(1)
        assert file.read(1) == b"1"
    first = version_of(path)
    assert version_of(path) == first
    time.sleep(0.01)  # file systems count time in ticks
    atomic.write_bytes(path, b"{2}")
    assert path.read_bytes() == b"{2}" and version_of(path) != first
    path.unlink()
    assert not path.exists()


def test_empty_files_are_files(root: Place) -> None:
    path = root / "dropped" / "mark"
    atomic.write_bytes(path, b"")
    assert path.exists() and path.read_bytes() == b"" and path.stat().st_size == 0


def test_one_of_many_creates(root: Place) -> None:
    path = root / "plan" / "000000"
    assert atomic.create(path, b"first")
    assert not atomic.create(path, b"second")
    assert path.read_bytes() == b"first"


def test_a_lease_has_one_holder_until_it_is_given_back(root: Place) -> None:
    path = root / "leases" / "a.json"
    mine = leases.take(path, "mine")
    assert isinstance(mine, leases.Lease)
    with mine:
        assert isinstance(leases.take(path, "other"), leases.Holder)
    assert not path.exists()


def test_folders_are_listed_copied_and_removed(root: Place, tmp_path: Path) -> None:
    names = {"a.txt": b"a", "b.bin": b"bb", "below/c.txt": b"ccc"}
    for name, data in names.items():
        atomic.write_bytes(root.joinpath("kind", *name.split("/")), data)
    folder = root / "kind"
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "b.bin", "below"]
    assert [path.name for path in matches(folder, "*.txt")] == ["a.txt"]
    assert [path.name for path in matches(root, "*/below/*.txt")] == ["c.txt"]
    assert size_below(folder) == 6
    with scratch.copied(folder) as copy:
        assert {name: (copy / name).read_bytes() for name in names} == names
    with scratch.filled(root / "filled") as filled:
        (filled / "x").mkdir(parents=True)
        (filled / "x" / "y").write_bytes(b"z")
    assert (root / "filled" / "x" / "y").read_bytes() == b"z"
    with scratch.copied(root / "filled") as copy:
        assert (copy / "x" / "y").read_bytes() == b"z"
    remove_tree(folder)
    assert not (folder / "a.txt").exists() and not (folder / "below" / "c.txt").exists()
    assert (root / "filled" / "x" / "y").exists()


def test_ranges_come_as_asked_for(root: Place) -> None:
    path = root / "shards" / "a.tar"
    atomic.write_bytes(path, bytes(range(100)))
    if isinstance(path, Url):
        assert path.read_ranges([(3, 5), (90, 100)]) == [b"\3\4", bytes(range(90, 100))]
        path.fetch(copy := scratch.temp_path("copy"))
        assert copy.read_bytes() == bytes(range(100))
        copy.unlink()


ASKED: list[tuple[Callable[[Url], object], list[str]]] = [
    (Url.exists, ["head"]),
    (Url.is_file, ["head"]),
    (Url.stat, ["head"]),
    (Url.version, ["head"]),
    (Url.read_bytes, ["get"]),
    (whole_file, ["get"]),
    (lambda path: path.unlink(missing_ok=True), ["delete"]),
    (lambda path: path.put(b"1"), ["put"]),
    (lambda path: path.put_new(b"1"), ["put"]),
]


@pytest.mark.parametrize("there", [True, False])
def test_a_question_is_one_request(there: bool, url: str, content: Content, proxy: Proxy) -> None:
    """No listing looks for a folder in place of a missing object, nobody looks before reading."""
    for number, (ask, expected) in enumerate(ASKED):
        path = url_of(url) / f"object-{number}"
        if there:
            content[path.name] = b"0"
        proxy.forget()
        try:
            ask(path)
        except FileNotFoundError:
            assert not there
        expected = [*expected, "get"] if there and number == len(ASKED) - 1 else expected  # whose is it?
        assert [request.action for request in proxy.seen()] == expected, number


@pytest.mark.parametrize("answer", [faults.NOT_IMPLEMENTED, error(400, "InvalidArgument")])
def test_stores_without_conditional_puts_look_first(answer: faults.Fault, url: str, proxy: Proxy) -> None:
    proxy.rules.append(Rule(answer, on=lambda request: request.conditional))
    store = url_of(url)
    assert (store / "plan").put_new(b"first")
    assert not (store / "plan").put_new(b"second")
    assert (store / "plan").read_bytes() == b"first"
    test_a_lease_has_one_holder_until_it_is_given_back(store)
    assert [r.action for r in proxy.seen(key="/plan$")] == ["put", "head", "put", "put", "head", "get", "get"]


def test_a_refused_condition_need_not_say_which(url: str, proxy: Proxy) -> None:
    """Not all stores name the header that was not met, as Amazon's does; some want to be asked again."""
    store = url_of(url)
    (store / "plan").put(b"first")
    proxy.rules.append(Rule(error(412, "PreconditionFailed"), on=lambda request: request.conditional))
    assert not (store / "plan").put_new(b"second")
    busy = error(409, "ConditionalRequestConflict", "The conditional request cannot succeed")
    proxy.rules[:] = [Rule(busy, on=lambda request: request.conditional, times=1)]
    assert (store / "other").put_new(b"first")


def test_one_that_is_removed_this_moment_is_not_ours(url: str, proxy: Proxy) -> None:
    """A lease that is given back between the refusal of another and the look whose it is."""
    proxy.rules.append(Rule(error(412, "PreconditionFailed"), on=lambda request: request.conditional))
    assert not (url_of(url) / "lease").put_new(b"mine")


def test_missing_objects_that_are_forbidden_are_no_missing_objects(url: str, proxy: Proxy) -> None:
    """What S3 answers for them where the credentials may not list the bucket."""
    proxy.rules.append(Rule(faults.forbidden_if_missing))
    path = url_of(url) / "manifest"
    for ask in (path.exists, path.read_bytes):
        with pytest.raises(StoreError, match=r"s3:ListBucket"):
            ask()
    path.put(b"there")
    assert path.exists() and path.read_bytes() == b"there"


def test_long_listings_come_in_pages(url: str, content: Content, proxy: Proxy) -> None:
    count = 2 * PAGE + 3
    folder = url_of(url) / "manifest"
    names = [f"toy-{number:06d}.parquet" for number in range(count)]
    for name in names:
        content[f"manifest/{name}"] = b"1"
    proxy.forget()
    assert sorted(path.name for path in folder.iterdir()) == names
    assert [path.name for path in matches(folder, "toy-*.parquet")] == names
    assert sorted(folder.files()) == names and size_below(folder) == count
    asked = ["continuation-token" in request.query for request in proxy.seen("list")]
    assert asked == [False, True, True] * 4
