import re
import subprocess
import sys

import numpy as np
import pytest

from stages.metrics.box_protocols import BOX_PROTOCOLS
from stages.metrics.proposals import Proposals
from stages.metrics.protocols import PROTOCOLS, Score, pooled, score
from tests.outside import PROJECT
from tests.stages.metrics.making import blobs, rows, shaken


def test_names_say_which_definition():
    assert all(re.fullmatch(r"[a-z]+@[a-z0-9-]+", name) for name in PROTOCOLS)
    assert all(name == protocol.name and protocol.help for name, protocol in PROTOCOLS.items())
    assert {p.name.partition("@")[2] for p in PROTOCOLS.values() if p.boundary} == {
        "davis17u", "davis17u-perframe", "davis17s",
    }  # fmt: skip


def test_every_name_is_documented():
    page = (PROJECT / "docs" / "metrics.md").read_text()
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = [name for cell in cells for name in re.findall(r"`([a-z0-9-]+@[a-z0-9-]+)`", cell)]
    assert sorted(named) == sorted([*PROTOCOLS, *BOX_PROTOCOLS])


def test_perfect_tubes_score_one():
    truth = blobs(0, frames=9)
    names = [name for name in PROTOCOLS if "decay" not in name and "davis16" not in name]
    assert {s.value for s in score(names, truth, truth)} == {1.0}


def test_scores_are_finite_and_in_order():
    truth = blobs(1, frames=7)
    found = score(list(PROTOCOLS), shaken(truth), truth)
    assert list(dict.fromkeys(s.protocol for s in found)) == list(PROTOCOLS)
    assert all(-1 <= s.value <= 1 and isinstance(s.value, float) for s in found)
    assert all(s.object is None or isinstance(s.object, int) for s in found)


def test_pools():
    by_video = {
        "a": [Score("miou@solv", 1, 1.0), Score("miou@solv", 2, 0.0), Score("miou@solv", 5, 0.5)],
        "b": [Score("miou@solv", 1, 0.9)],
        "c": [],
    }
    assert pooled("miou@solv", by_video) == pytest.approx(2.4 / 4)
    assert pooled("miou@video", by_video) == pytest.approx((0.5 + 0.9) / 2)
    assert pooled("miou@solv", {"c": []}) is None and pooled("fgari@frame", {}) is None


def test_overlapping_proposals_where_allowed():
    truth = blobs(2, frames=3)
    masks = np.stack([truth == k for k in (1, 2, 3)] + [truth > 0])
    found = score(["jf@davis17u-perframe", "j@davis17u-perframe"], Proposals.of(masks), truth)
    assert {s.value for s in found} == {1.0}
    with pytest.raises(ValueError, match="mbo@video scores a label map"):
        score(["mbo@video"], Proposals.of(masks), truth)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="no protocol 'miou'; there are miou@solv, "):
        score(["miou"], rows("0"), rows("0"))
    with pytest.raises(ValueError, match="2 frames of 1 x 1, the ground truth has 1 frames"):
        score(["miou@solv"], rows("0", "0"), rows("0"))
    with pytest.raises(ValueError, match="same frames"):
        score([], rows("00"), rows("0"))


def test_borders_cut_from_both_give_the_same_as_copies():
    truth = blobs(4)
    prediction = shaken(truth)
    cut = (slice(None), slice(3, -2), slice(1, -4))
    names = ["miou@solv", "jf@davis17u", "j@davis16", "fgari@video"]
    assert score(names, prediction[cut], truth[cut]) == score(
        names, prediction[cut].copy(), truth[cut].copy()
    )


def test_types_do_not_matter():
    truth = blobs(4)
    prediction = shaken(truth)
    names = [name for name in PROTOCOLS if name != "jf@davis17s"]
    small = score(names, prediction.astype(np.int16), truth.astype(np.uint8))
    assert small == score(names, prediction, truth)


def test_void_reaches_the_protocols():
    truth = blobs(4)
    prediction = truth.copy()
    void = np.zeros(truth.shape, bool)
    void[:, :, :20] = True
    prediction[:, :, :20] = 9
    for name in ("miou@solv", "fgari@video", "mbo@frame", "jf@davis17u", "j@davis17u-perframe"):
        assert {s.value for s in score([name], prediction, truth, void)} == {1.0}, name


def test_plans_may_import_it():
    said = subprocess.run(
        [sys.executable, "-c", "import sys, stages.metrics.protocols; print(*sys.modules)"],
        capture_output=True, text=True, cwd=PROJECT, check=True,
    )  # fmt: skip
    assert not {"scipy", "cv2", "sklearn", "torch"} & set(said.stdout.split())
