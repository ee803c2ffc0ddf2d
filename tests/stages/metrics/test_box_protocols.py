import re
import subprocess
import sys

import numpy as np
import pytest

from stages.metrics import tube_ap
from stages.metrics.box_protocols import BOX_PROTOCOLS, FoundVideo, gather, pooled
from stages.metrics.protocols import PROTOCOLS
from stages.metrics.tube_ap import Tube
from tests.outside import PROJECT
from tests.stages.metrics.making_boxes import frame, random_frames, rectangle

A, B = (0, 0, 10, 10), (20, 0, 30, 10)
SIZE = (200, 300)
MASK = rectangle(SIZE, 0, 0, 150, 150)
NAMES = {takes: [p.name for p in BOX_PROTOCOLS.values() if p.takes == takes] for takes in ("boxes", "tubes")}


def values(names, *videos):
    """Figures of a data set."""
    found = [gather(names, video) for video in videos]
    return {n: pooled(n, [e.rows for one in found for e in one if e.protocol == n]) for n in names}


def test_names_say_which_definition():
    assert all(re.fullmatch(r"[a-z]+[0-9-]*[a-z]*@[a-z0-9-]+", name) for name in BOX_PROTOCOLS)
    assert all(name == protocol.name and protocol.help for name, protocol in BOX_PROTOCOLS.items())
    assert not set(BOX_PROTOCOLS) & set(PROTOCOLS)


def test_figures_are_of_the_data_set():
    """1 of 2 objects in one video of one frame, 1 of 1 in each of two frames of another."""
    videos = [FoundVideo([frame([A, B], [A], [0.9])]), FoundVideo([frame([A], [A], [0.9])] * 2)]
    figures = values(NAMES["boxes"], *videos)
    assert figures["corloc@vol"] == 1.0
    assert figures["decrate@vol"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert figures["decrate@vol-pooled"] == pytest.approx(3 / 4)
    assert figures["map50@vol"] == pytest.approx(3 / 4)
    assert figures["so@vol"] == 1.0


def test_types_add_up():
    figures = values(NAMES["boxes"], FoundVideo(random_frames(3)))
    for definition in ("vol", "vol-strict"):
        assert sum(figures[f"{name}@{definition}"] for name in ("so", "po", "go", "bg")) == pytest.approx(1)
    assert figures["so@vol-strict"] <= figures["so@vol"]


def test_pooled_is_the_whole_cut_into_videos():
    whole = random_frames(5, count=9)
    parts = [FoundVideo(whole[:2]), FoundVideo(whole[2:3]), FoundVideo(whole[3:])]
    assert values(NAMES["boxes"], FoundVideo(whole)) == pytest.approx(values(NAMES["boxes"], *parts))


def test_videos_that_do_not_count_and_videos_that_only_cost():
    """A video with nothing gives nothing; what is found where nothing is annotated has no figure of its own,
    and makes the data set's precision lower."""
    assert gather(list(BOX_PROTOCOLS), FoundVideo([frame()])) == []
    wrong = gather(NAMES["boxes"], FoundVideo([frame([], [A], [0.95])]))
    assert {e.protocol: e.value for e in wrong if e.protocol[:3] in ("map", "cor", "bg@")} == {
        "map50@vol": None, "bg@vol": 1.0, "bg@vol-strict": 1.0
    }  # fmt: skip
    right = FoundVideo([frame([A], [A], [0.5])])
    assert values(["map50@vol"], right, FoundVideo([frame([], [A], [0.95])]))["map50@vol"] == 0.5
    assert pooled("corloc@vol", []) is None


def test_tubes():
    """An object of 150 x 150 = 22500 pixels is medium; of the two tubes the wrong one is surer."""
    far = rectangle(SIZE, 250, 150, 40, 40)
    found = [Tube([far], 0.9), Tube([MASK], 0.5)]
    figures = values(NAMES["tubes"], FoundVideo(found=found, truth=[Tube([MASK])]))
    assert {name.partition("@")[0]: value for name, value in figures.items()} == {
        "ap": 0.5, "ap50": 0.5, "ap75": 0.5,
        # the small tube is no medium one, so there it doesn't count
        "aps": None, "apm": 1.0, "apl": None,
        "ar1": 0.0, "ar10": 1.0, "ar100": 1.0,
    }  # fmt: skip
    assert tube_ap.LEVELS[5] == pytest.approx(0.75)
    first, second = (FoundVideo(found=[tube], truth=[Tube([MASK])]) for tube in found)
    assert values(["ap50@ytvis-agnostic"], first, second)["ap50@ytvis-agnostic"] == pytest.approx(
        51 / 101 / 2
    )


def test_evidence_is_numbers_in_rows():
    for found in gather(NAMES["boxes"], FoundVideo(random_frames(1))):
        assert found.rows.dtype == np.float64 and found.rows.ndim == 2 and len(found.rows)
        assert found.value == BOX_PROTOCOLS[found.protocol].figure(found.rows)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="no protocol 'map50' on boxes; there are corloc@vol, "):
        gather(["map50"], FoundVideo())


def test_plans_may_import_it():
    said = subprocess.run(
        [sys.executable, "-c", "import sys, stages.metrics.box_protocols; print(*sys.modules)"],
        capture_output=True, text=True, cwd=PROJECT, check=True,
    )  # fmt: skip
    assert not {"scipy", "cv2", "sklearn", "torch", "pycocotools"} & set(said.stdout.split())
