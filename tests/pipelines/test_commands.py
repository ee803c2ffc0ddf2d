"""What the flags' functions refuse, and what they ask runners for."""

from __future__ import annotations

import pytest

from configs.compose import compose
from pipelines import arguments
from pipelines.commands import make_runner
from stages.errors import SettingsError

REMOTE = ("data.root=/videos", "decode.placement=remote")


def test_decoding_elsewhere_is_refused_where_there_is_no_elsewhere() -> None:
    args = arguments.parser().parse_args(["features", "--runner", "local"])
    with pytest.raises(SettingsError, match=r"decode.placement=remote: .* no other nodes .* --runner ray"):
        make_runner(args, compose("features", assignments=REMOTE), print)
    assert make_runner(args, compose("features", assignments=REMOTE[:1]), print).name == "local"
