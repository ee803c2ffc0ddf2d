"""Objects that change or vanish behind our back are named by --verify and made again by --repair."""

from __future__ import annotations

from collections.abc import Callable

from tests import cli
from tests.object_stores import faults
from tests.object_stores.conftest import Base, Command
from tests.object_stores.content import Content
from tests.object_stores.proxy import Proxy, Rule


def flip(content: Content, name: str) -> None:
    """One bit in the middle."""
    data = bytearray(content[name])
    data[len(data) // 2] ^= 1
    content[name] = bytes(data)


def cut(content: Content, name: str) -> None:
    """Only the first half is left."""
    content[name] = content[name][: len(content[name]) // 2]


def remove(content: Content, name: str) -> None:
    del content[name]


DAMAGES: list[tuple[str, Callable[[Content, str], None], str]] = [
    (r"features/[^/]+/shards/features-000001-00\.tar", flip, "its bytes have changed"),
    (r"features/[^/]+/shards/features-000002-00\.tar", remove, "the file is missing"),
    (r"features/[^/]+/manifest/features-000000-00\.parquet", cut, "its manifest is damaged"),
]


def test_damage_is_named_and_repaired(command: Command, copied: str, content: Content, base: Base) -> None:
    for pattern, harm, _ in DAMAGES:
        harm(content, content.only(pattern))
    looked = cli.run_json(*command(copied), "--verify", code=4)
    problems = {entry["path"]: entry["problem"] for entry in looked["damaged"]}
    assert len(problems) == len(DAMAGES)
    for _, _, problem in DAMAGES:
        assert any(problem in told for told in problems.values()), problems
    assert all(path.startswith(copied) for path in problems)
    cli.run(*command(copied), "--verify", "--repair")
    assert content.digests() == base.content.digests()


def test_a_lost_index_costs_nothing(command: Command, copied: str, content: Content) -> None:
    names = content.names(r".*/_index\.parquet")
    content[names[0]] = b"rubbish"
    del content[names[1]]
    assert "nothing to do" in cli.run(*command(copied)).stdout
    assert content.names(r".*/_index\.parquet") == names


def test_a_missing_manifest_has_its_shard_made_again(
    command: Command, copied: str, content: Content, base: Base
) -> None:
    """What a run that was killed between shard and manifest leaves."""
    del content[content.only(r"features/[^/]+/manifest/features-000001-00\.parquet")]
    shard = content.only(r"features/[^/]+/shards/features-000001-00\.tar")
    cut(content, shard)
    cli.run(*command(copied))
    assert content.digests() == base.content.digests()


def test_shards_without_manifest_are_collected(
    command: Command, copied: str, content: Content, proxy: Proxy
) -> None:
    del content[content.only(r"features/[^/]+/manifest/features-000001-00\.parquet")]
    orphan = content.only(r"features/[^/]+/shards/features-000001-00\.tar")
    before = content.names()
    proxy.rules.append(Rule(faults.older(3600), lambda request: request.action == "head"))
    found = cli.run_json(*command(copied), "--gc")
    assert [entry["path"] for entry in found["files"]] == [f"{copied}/{orphan}"]
    assert content.names() == before, "looking changes nothing"
    cli.run(*command(copied), "--gc", "--yes")
    assert set(before) - set(content.names()) == {orphan}
