from __future__ import annotations

import pytest

from pipelines import arguments
from stages.errors import SettingsError


def parse(*argv: str):
    args = arguments.parser().parse_args(list(argv))
    arguments.check(args)
    return args


@pytest.mark.parametrize(
    "argv",
    [
        ("features", "--plan", "--limit", "3", "--retry-failed"),
        ("features", "--verify", "--repair", "--runner", "local"),
        ("features", "--gc", "--yes", "--json"),
        ("features", "--limit", "1", "--max-failed", "0"),
        (),
    ],
)
def test_flags_that_go_together(argv):
    parse(*argv)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("features", "--plan", "--gc"), "--plan and --gc"),
        (("features", "--status", "--explain", "x"), "--status and --explain"),
        (("features", "--repair"), "--repair goes with --verify"),
        (("features", "--yes"), "--yes goes with --gc"),
        (("features", "--verify", "--limit", "3"), "--limit goes with"),
        (("features", "--du", "--retry-failed"), "--retry-failed goes with"),
        (("features", "--runner", "local", "--address", "auto"), "--address goes with --runner ray"),
        (("features", "--address", "http://head:8265"), "a dashboard, which only --plan asks"),
        (("--plan",), "name a recipe"),
        (("--set", "a=b"), "name a recipe"),
        (("features", "--max-failed", "many"), "--max-failed many"),
        (("features", "--max-failed", "-1"), "negative"),
    ],
)
def test_flags_that_do_not(argv, message):
    with pytest.raises(SettingsError, match=message):
        parse(*argv)


@pytest.mark.parametrize("argv", [("features", "--limit", "0"), ("features", "--runner", "dask")])
def test_impossible_values_exit_with_2(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(*argv)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("text", "total", "allowed"),
    [("5%", 100, 5), ("5%", 10, 0.5), ("3", 10, 3), ("0", 10, 0), ("2.5%", 200, 5)],
)
def test_max_failed(text, total, allowed):
    assert arguments.max_failed(text, total) == allowed


def test_help_names_every_setting():
    from configs.schema import keys

    text = arguments.parser().format_help()
    assert [name for name in keys() if name != "recipe" and f"  {name}" not in text] == []
