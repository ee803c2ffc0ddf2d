from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stages.artifacts import leases
from stages.artifacts.leases import Holder, Lease
from stages.errors import SettingsError
from tests.faults.processes import wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases" / "toy-000000.json"


def taken(path: Path, run: str) -> Lease:
    found = leases.take(path, run)
    assert isinstance(found, Lease)
    return found


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def token(path: Path) -> str:
    return str(json.loads(path.read_text())["token"])


def test_one_has_it_until_it_is_done(path: Path) -> None:
    with taken(path, "one"):
        found = leases.take(path, "other")
        assert isinstance(found, Holder) and found.run == "one" and str(found).startswith("run one on ")
        assert leases.holder(path, "other") == found and leases.holder(path, "one") is None
    assert not path.exists() and leases.holder(path, "other") is None
    with taken(path, "other") as lease:
        assert len(lease.starts) == 1


def test_of_many_that_come_at_once_one_has_it(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: leases.take(path, f"run{n}"), range(8)))
    assert sum(isinstance(one, Lease) for one in found) == 1


def test_a_run_takes_its_own_back_at_once_and_knows_where_it_began(path: Path) -> None:
    first, again = (leases.take(path, "one", node) for node in ("n1", "n2"))
    assert isinstance(first, Lease) and isinstance(again, Lease)
    assert (first.starts, again.starts) == (["n1"], ["n1", "n2"])
    with first, again:
        first._renew()
        assert token(path) == again._holder.token, "the worker that was replaced renews nothing"
    assert not path.exists()


def test_who_lost_it_leaves_the_file_of_the_other_alone(path: Path) -> None:
    with taken(path, "one") as lease:
        change(path, run="other", token="another")
        lease._renew()
    assert token(path) == "another"


def test_a_lost_file_is_written_again(path: Path) -> None:
    with taken(path, "one") as lease:
        path.unlink()
        lease._renew()
        assert leases.holder(path, "other") is not None
    assert not path.exists()


def test_it_is_renewed_while_it_is_held(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUBEFLOW_LEASE_S", "0.6")
    with taken(path, "one") as lease:
        first = lease._holder.expires
        wait_until(lambda: json.loads(path.read_text())["expires"] > first, "renewal")


@pytest.mark.parametrize("change_of", [
    pytest.param({"expires": 0.0}, id="expired"),
    pytest.param({"expires": time.time() + 1e6}, id="clock far ahead"),
    pytest.param({"expires": float("nan")}, id="no time"),
    pytest.param({"pid": "x"}, id="no process"),
    pytest.param({"born": 1.0}, id="another process of that number"),
    pytest.param({"more": 1}, id="of another version"),
    pytest.param({"starts": {"one": 2}}, id="of a version that counted starts"),
])  # fmt: skip
def test_what_is_over_or_unreadable_is_taken_over(path: Path, change_of: dict[str, Any]) -> None:
    taken(path, "one")
    change(path, **change_of)
    assert leases.holder(path, "other") is None
    with taken(path, "other"):
        found = leases.holder(path, "third")
        assert found is not None and found.run == "other"


def test_clocks_may_differ_by_the_bound(path: Path) -> None:
    """Seen from a machine that is `SKEW_S` ahead or behind, a holder that renews in time is alive."""
    taken(path, "one")
    for skew in (-leases.SKEW_S, leases.SKEW_S - 1):
        worst = time.time() + leases.LIFE_S * (1 - 1 / leases.RENEWALS)  # just before the next renewal
        change(path, expires=(worst if skew < 0 else time.time() + leases.LIFE_S) + skew)
        assert leases.holder(path, "other") is not None


def test_the_lease_of_a_killed_process_is_free_at_once(path: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from stages.artifacts import leases\n"
        "with leases.take(Path(sys.argv[1]), 'killed'): print('have it', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "have it\n"
    assert isinstance(leases.take(path, "other"), Holder)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert leases.holder(path, "other") is None, "a process that nobody has waited for has ended too"
    process.communicate()
    assert leases.holder(path, "other") is None
    change(path, place="another machine")
    assert leases.holder(path, "other") is not None, "there, only its expiry tells"


def test_of_two_that_take_over_who_writes_last_has_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken(path, "gone")
    change(path, expires=0.0)
    both = threading.Barrier(2)
    write = leases.atomic.write_bytes
    monkeypatch.setattr(leases.atomic, "write_bytes", lambda *args: (both.wait(), write(*args), both.wait()))
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda run: leases.take(path, run), ["one", "other"]))
    assert sorted(type(one).__name__ for one in found) == ["Holder", "Lease"]


def test_work_goes_on_where_no_lease_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "leases").write_text("a file where the folder should be")
    with taken(tmp_path / "leases" / "toy-000000.json", "one"):
        pass
    assert (tmp_path / "leases").is_file()


def test_exclusively_waits_and_says_for_whom(path: Path) -> None:
    order, told = [], []

    def other() -> None:
        with leases.exclusively(path, told.append):
            order.append("other")

    thread = threading.Thread(target=other)
    with leases.exclusively(path):
        thread.start()
        wait_until(lambda: told, "word on who has it")
        order.append("one")
    thread.join()
    assert order == ["one", "other"]
    assert [holder.pid for holder in told] == [os.getpid()]
    assert not path.exists()


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf", "nan"])
def test_another_life_has_to_be_a_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUBEFLOW_LEASE_S", text)
    with pytest.raises(SettingsError, match="TUBEFLOW_LEASE_S"):
        leases.life_s()
