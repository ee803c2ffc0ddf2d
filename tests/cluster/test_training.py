"""What processes of a training tell: errors keep their class and message, figures go out now and then."""

from __future__ import annotations

import pytest

from cluster.training import KNOWN, Problem, Seldom
from stages.errors import SettingsError
from stages.learning.loop import DivergedError


@pytest.mark.parametrize("kind", KNOWN.values(), ids=KNOWN)
def test_a_problem_comes_back_as_it_was(tmp_path, kind):
    assert not Problem(tmp_path).told
    Problem(tmp_path).raise_told()
    Problem(tmp_path).tell(kind("lower train.rate"))
    assert Problem(tmp_path).told
    with pytest.raises(kind, match="^lower train.rate$"):
        Problem(tmp_path).raise_told()


def test_a_special_case_comes_back_as_what_users_see(tmp_path):
    Problem(tmp_path).tell(DivergedError("the loss became nan"))
    with pytest.raises(SettingsError, match="^the loss became nan$"):
        Problem(tmp_path).raise_told()


def test_a_bug_does_not_hide_the_reason(tmp_path):
    """A process whose partner has stopped fails too, for want of it."""
    Problem(tmp_path).tell(SettingsError("no video"))
    Problem(tmp_path).tell_bug("Traceback: connection lost")
    with pytest.raises(SettingsError, match="no video"):
        Problem(tmp_path).raise_told()
    (tmp_path / "other").mkdir()
    Problem(tmp_path / "other").tell_bug("Traceback: a bug")
    with pytest.raises(RuntimeError, match="Traceback: a bug"):
        Problem(tmp_path / "other").raise_told()


def test_figures_are_sent_at_once_and_then_seldom(monkeypatch):
    now, sent = [100.0], []
    monkeypatch.setattr("cluster.training.time.monotonic", lambda: now[0])
    report = Seldom(sent.append, seconds=5.0)
    for second in (0, 1, 4.9, 5, 6, 12):
        now[0] = 100.0 + second
        report({"loss": second})
    assert sent == [{"loss": 0}, {"loss": 5}, {"loss": 12}]
