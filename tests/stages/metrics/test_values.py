"""Every protocol on maps that a reader can count."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from stages.metrics.protocols import PROTOCOLS
from tests.stages.metrics.making import blobs, rows, shaken, values

TRUTH = rows("11220", "11022", "00000")
PREDICTION = rows("33001", "30011", "11111")


def test_iou_by_hand():
    assert values("miou@solv", PREDICTION, TRUTH) == {1: 0.75, 2: pytest.approx((1 + 0) / 2)}
    assert values("mbo@video", PREDICTION, TRUTH) == {1: 3 / 4, 2: pytest.approx(2 / 6)}
    assert values("miou@video", PREDICTION, TRUTH) == {1: 3 / 4, 2: pytest.approx(2 / 6)}
    second = (1 / 2 + 1.0) / 2
    assert values("mbo@frame", PREDICTION, TRUTH) == {None: pytest.approx((1.0 + second) / 2)}
    assert values("miou@frame", PREDICTION, TRUTH) == {None: pytest.approx((1.0 + second) / 2)}


def test_one_tube_over_all():
    whole = np.zeros_like(TRUTH)
    assert values("mbo@video", whole, TRUTH) == {1: 4 / 15, 2: 4 / 15}
    assert sum(values("miou@video", whole, TRUTH).values()) == pytest.approx(4 / 15)
    assert values("fgari@video", whole, TRUTH) == {None: 0.0}
    assert values("fgari@frame", whole, TRUTH) == {None: 0.0}


def test_ari_as_scikit_learn():
    truth = blobs(0)
    prediction = shaken(truth, 3)
    inside = truth > 0
    whole = adjusted_rand_score(truth[inside], prediction[inside])
    frames = [adjusted_rand_score(t[m], p[m]) for t, p, m in zip(truth, prediction, inside, strict=True)]
    assert values("fgari@video", prediction, truth)[None] == pytest.approx(whole, abs=1e-12)
    assert values("fgari@frame", prediction, truth)[None] == pytest.approx(np.mean(frames), abs=1e-12)
    everything = adjusted_rand_score(truth.ravel(), prediction.ravel())
    assert values("ari@video", prediction, truth)[None] == pytest.approx(everything, abs=1e-12)
    chunk = values("fgari@videosaur-chunk6", prediction, truth)[None]
    assert chunk == pytest.approx(whole, abs=1e-12)


def test_frames_without_objects():
    """They count nowhere, but 1 in @frame-all."""
    frame = adjusted_rand_score([1, 1, 2, 2], [3, 0, 1, 1])
    assert values("fgari@frame", PREDICTION, TRUTH) == {None: pytest.approx((1 + frame) / 2)}
    assert values("fgari@frame-all", PREDICTION, TRUTH) == {None: pytest.approx((1 + frame + 1) / 3)}


def test_single_objects_are_all_or_nothing():
    truth = rows("1110", "1122")
    assert values("fgari@frame", rows("0000", "0011"), truth) == {None: 1.0}
    assert values("fgari@frame", rows("0020", "0011"), truth) == {None: 0.5}
    assert values("fgari@frame", rows("0020", "0011"), truth, drop_single=True) == {None: 1.0}
    assert values("fgari@frame", rows("0020"), truth[:1], drop_single=True) == {}


def test_pixels_without_a_tube_are_one_cluster_and_no_candidate():
    truth = rows("1122")
    assert values("fgari@frame", rows("00.."), truth) == {None: 1.0}
    assert values("mbo@video", rows("00.."), truth) == {1: 1.0, 2: 0.0}
    assert values("miou@solv", rows("00.."), truth) == {1: 1.0, 2: 0.0}


def test_late_objects():
    """@solv and @davis17u take the objects of the first frame, the others all."""
    truth = rows("1100", "1122")
    prediction = rows("0011", "0011")
    assert values("miou@solv", prediction, truth) == {1: 1.0}
    assert values("j@davis17u", prediction, truth) == {1: 1.0}
    assert values("miou@video", prediction, truth) == {1: 1.0, 2: pytest.approx(1 / 2)}


def test_gaps_in_ids_change_nothing():
    truth = blobs(2)
    prediction = shaken(truth)
    gaps = np.array([0, 2, 3, 7])[prediction]
    holes = np.array([0, 1, 5, 9])[truth]
    for name in ("miou@solv", "fgari@solv", "fgari@video", "mbo@frame", "mbo@video", "j@davis16"):
        expected = list(values(name, prediction, truth).values())
        assert list(values(name, gaps, holes).values()) == pytest.approx(expected)


@pytest.mark.parametrize(
    "name, sees",
    [
        ("fgari@video", True),
        ("mbo@video", True),
        ("miou@video", True),
        ("miou@solv", True),
        ("jf@davis17u", True),
        ("fgari@frame", False),
        ("mbo@frame", False),
        ("miou@frame", False),
        ("jf@davis17u-perframe", False),
        ("mbo@videosaur-chunk6", False),
        ("fgari@videosaur-chunk6", False),
    ],
)
def test_who_sees_an_identity_swap(name, sees):
    """Tubes that exchange their ids at a border of chunks."""
    truth = blobs(5, frames=12)
    prediction = shaken(truth, 1)
    after = prediction.copy()
    after[6:] = np.array([0, 2, 1, 3])[after[6:]]
    before, then = (np.mean(list(values(name, maps, truth).values())) for maps in (prediction, after))
    assert then < before - 0.1 if sees else then == pytest.approx(before)


def test_fgari_solv_hardly_sees_it():
    truth = blobs(5, frames=12)
    after = truth.copy()
    after[6:] = np.array([0, 2, 1, 3])[after[6:]]
    assert values("fgari@solv", after, truth)[None] == pytest.approx(1.0)


def test_absent_ids_in_vols_copy():
    truth, prediction = rows("0033"), rows("0011")
    assert values("mbo@vol-frame", prediction, truth) == {None: pytest.approx(1 / 3)}
    assert values("miou@vol-frame", prediction, truth) == {None: pytest.approx(1 / 3)}


def test_chunks_are_averaged():
    truth = np.repeat(rows("1122", "1102"), 6, axis=0)
    prediction = np.repeat(rows("0011", "0001"), 6, axis=0)
    assert values("mbo@videosaur-chunk6", prediction, truth) == {
        None: pytest.approx((1.0 + (2 / 3 + 1) / 2) / 2)
    }


@pytest.mark.parametrize("definition", ["davis17u", "davis17u-perframe", "davis17s"])
def test_davis_figures_fit_together(definition):
    truth = blobs(3, frames=9)
    prediction = shaken(truth, 1)
    found = {figure: values(f"{figure}@{definition}", prediction, truth) for figure in ("jf", "j", "f")}
    assert found["j"].keys() == {1, 2, 3}
    for number in (1, 2, 3):
        assert found["jf"][number] == pytest.approx((found["j"][number] + found["f"][number]) / 2)
    assert all(0 < v <= 1 for v in values(f"jrecall@{definition}", prediction, truth).values())
    assert all(abs(v) < 0.5 for v in values(f"fdecay@{definition}", prediction, truth).values())


def test_decay_that_has_no_frames_gives_no_score():
    truth = np.repeat(blobs(0, frames=1, size=(24, 24), objects=1), 300, axis=0)
    assert values("jdecay@davis17u", truth, truth) == {1: 0.0}
    assert values("jdecay@davis17u", truth, truth, decay_uint8_bug=True) == {}


def test_foreground():
    truth = np.zeros((2, 10, 10), int)
    truth[:, 3:6, 3:6], truth[:, 6:8, 3:6] = 1, 2
    prediction = np.zeros_like(truth)
    prediction[:, 3:8, 3:7] = 1
    assert values("j@davis16", prediction, truth) == {None: pytest.approx(15 / 20)}
    assert values("j@davis16-oracle", prediction, truth) == {None: pytest.approx(15 / 20)}
    assert values("j@davis16", np.full_like(truth, -1), truth) == {None: 0.0}


def test_a_video_without_objects_counts_nowhere():
    truth = np.zeros((4, 6, 6), int)
    prediction = np.arange(36).reshape(6, 6) % 3 + truth
    for name in PROTOCOLS:
        assert values(name, np.zeros_like(truth) if "17s" in name else prediction, truth) == {}, name
