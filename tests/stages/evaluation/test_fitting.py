"""Protocols that the ground truth can't serve are refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.compose import compose
from pipelines.graph import build
from pipelines.planning import Options, make_plan
from stages.errors import SettingsError
from stages.evaluation.fitting import refuse_unfit
from stages.metrics.all_protocols import ALL_PROTOCOLS
from tests.layouts import make_imagenet_vid

WORDS = "word@sprites"


def test_what_fits_is_let_through() -> None:
    refuse_unfit(["corloc@vol", "map50@vol"], "imagenet_vid", named=False)
    refuse_unfit([*ALL_PROTOCOLS], "sprites", named=True)
    refuse_unfit([name for name in ALL_PROTOCOLS if "word" not in name], "ytvis", named=True)


def test_words_need_sprites_and_names() -> None:
    with pytest.raises(SettingsError, match=r"word@sprites: only data.kind=sprites"):
        refuse_unfit([WORDS, "corloc@vol"], "ytvis", named=True)
    with pytest.raises(SettingsError, match=r"word@sprites: this recipe names nothing"):
        refuse_unfit([WORDS], "sprites", named=False)


def test_masks_are_not_compared_with_boxes(tmp_path: Path) -> None:
    """At the plan, on a real layout: those that don't fit are named, and those that do."""
    root = make_imagenet_vid(tmp_path / "VID", val=["v0"])

    def plan(protocols: str) -> None:
        settings = [f"data.root={root}", f"store={tmp_path / 'store'}", "data.kind=imagenet_vid"]
        more = ["data.scored=all", "method.name=vol", f"metrics.protocols=[{protocols}]"]
        make_plan(build(compose("solv_ytvis", assignments=[*settings, *more])), Options())

    says = (
        r"metrics.protocols: mbo@frame, ap50@ytvis-agnostic: .*boxes \(imagenet_vid\).*fit are corloc@vol, "
    )
    with pytest.raises(SettingsError, match=says):
        plan("mbo@frame,corloc@vol,ap50@ytvis-agnostic")
    plan("corloc@vol,map50@vol")
    (root / "Annotations/VID/val/v0/000000.xml").parent.parent.rename(tmp_path / "gone")
    with pytest.raises(ValueError, match="none of the 1 items listed has ground truth"):
        plan("corloc@vol")
