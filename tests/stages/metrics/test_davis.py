import numpy as np
import pytest

from stages.metrics.boundary import f_measure, j_measure
from stages.metrics.davis import object_count, semi_supervised, unsupervised, unsupervised_per_frame
from stages.metrics.proposals import Proposals
from tests.stages.metrics.making import blobs, shaken


@pytest.fixture
def video():
    truth = blobs(5, frames=8)
    return shaken(truth, 1), truth


def swapped(prediction):
    """Tubes 1 and 2 exchange their ids at half time."""
    after = prediction.copy()
    half = len(after) // 2
    after[half:] = np.array([0, 2, 1, 3])[after[half:]]
    return after


def test_identity_swap(video):
    """Acceptance check 15: an assignment per frame does not notice, one per video does."""
    prediction, truth = video
    plain, per_frame = unsupervised(prediction, truth), unsupervised_per_frame(prediction, truth)
    assert np.array_equal(plain.j, per_frame.j) and np.array_equal(plain.f, per_frame.f)
    swap = swapped(prediction)
    after = unsupervised_per_frame(swap, truth)
    assert np.array_equal(after.j, per_frame.j) and np.array_equal(after.f, per_frame.f)
    assert unsupervised(swap, truth).j.mean() < plain.j.mean() - 0.2
    assert after.matched[0].tolist() == [1] * 4 + [2] * 4


def test_values_are_those_of_the_matched_masks(video):
    prediction, truth = video
    found = unsupervised(prediction, truth)
    assert found.objects == (1, 2, 3) and found.matched[:, 0].tolist() == [1, 2, 3]
    for k in range(3):
        for t in range(len(truth)):
            pair = prediction[t] == k + 1, truth[t] == k + 1
            assert found.j[k, t] == j_measure(*pair) and found.f[k, t] == f_measure(*pair)


def test_tube_zero_is_a_proposal(video):
    prediction, truth = video
    found = unsupervised(prediction - 1, truth)
    assert found.matched[:, 0].tolist() == [0, 1, 2]
    assert np.array_equal(found.j, unsupervised(prediction, truth).j)


def test_fewer_tubes_than_objects(video):
    prediction, truth = video
    one = np.where(prediction == 2, 0, -1)
    found = unsupervised(one, truth)
    assert found.matched[:, 0].tolist() == [-1, 0, -1]
    assert found.j[0].tolist() == [0.0] * 8 and found.j[1].min() > 0.5
    nothing = unsupervised_per_frame(np.full_like(truth, -1), truth)
    assert not nothing.j.any() and (nothing.matched == -1).all()


def test_empty_frames_count_one_when_both_are_empty(video):
    prediction, truth = video
    truth, prediction = truth.copy(), prediction.copy()
    truth[4:][truth[4:] == 2] = 0
    prediction[4:6][prediction[4:6] == 2] = 0
    found = unsupervised(prediction, truth)
    assert found.j[1, 4:].tolist() == [1.0, 1.0, 0.0, 0.0]


def test_objects_are_those_of_the_first_frame(video):
    prediction, truth = video
    late = truth.copy()
    late[0][late[0] == 3] = 0
    assert object_count(late) == 2 and unsupervised(prediction, late).objects == (1, 2)
    late[0] = 0
    assert unsupervised(prediction, late) is None and semi_supervised(prediction, late) is None
    gap = np.where(truth == 2, 0, truth)
    assert unsupervised(prediction, gap).objects == (1, 2, 3)


def test_void_is_in_no_mask(video):
    prediction, truth = video
    void = np.zeros(truth.shape, bool)
    void[:, :, 30:] = True
    found = unsupervised(prediction, truth, void)
    cut = unsupervised(np.where(void, -1, prediction), np.where(void, 0, truth))
    assert np.array_equal(found.j, cut.j) and np.array_equal(found.f, cut.f)
    void[0] = truth[0] == 3
    assert unsupervised(prediction, truth, void).objects == (1, 2)


def test_more_than_twenty_tubes(video):
    _, truth = video
    columns = np.broadcast_to(np.arange(56) // 2, truth.shape)
    assert set(unsupervised(columns, truth).matched[:, 0]) <= set(range(20))
    with pytest.raises(ValueError, match="there are 28 proposals, the protocol allows 20"):
        unsupervised(columns, truth, too_many="error")
    assert unsupervised_per_frame(columns, truth, too_many="error") is not None


def test_background_left_out(video):
    prediction, truth = video
    whole = np.where(truth == 1, 0, prediction)
    assert (unsupervised(whole, truth, ground="border").matched != 0).all()


def test_overlapping_proposals(video):
    prediction, truth = video
    masks = np.stack([prediction == k for k in range(4)])
    doubled = np.concatenate([masks, truth[None] == 1, truth[None] > 0])
    found = unsupervised_per_frame(Proposals.of(doubled), truth)
    assert found.j[0].tolist() == [1.0] * 8 and (found.matched[0] == 4).all()
    disjoint = unsupervised_per_frame(Proposals.of(masks), truth)
    assert np.array_equal(disjoint.j, unsupervised_per_frame(prediction, truth).j)
    with pytest.raises(ValueError, match="same frames at the same size"):
        unsupervised_per_frame(Proposals.of(masks[:, :3]), truth)


def test_given_first_masks(video):
    prediction, truth = video
    found, official = semi_supervised(prediction, truth), unsupervised(prediction, truth)
    assert found.j.shape == (3, 6) and np.array_equal(found.j, official.j[:, 1:-1])
    swap = semi_supervised(np.array([-1, 2, 1, 3])[prediction], truth)
    assert np.array_equal(swap.j[2], found.j[2]) and swap.j[0].max() < 0.5
    missing = semi_supervised(np.where(prediction == 2, 0, prediction), truth)
    assert missing.j[1].max() == 0.0
    with pytest.raises(ValueError, match="has the id 4, the first frame has objects up to 3"):
        semi_supervised(np.where(prediction == 2, 4, prediction), truth)
    assert semi_supervised(prediction[:2], truth[:2]) is None


def test_a_long_clip():
    """300 frames: curves and everything derived from them stay finite."""
    truth = np.repeat(blobs(0, frames=3, size=(24, 24), objects=2), 100, axis=0)
    found = unsupervised(shaken(truth, 1), truth)
    assert found.j.shape == (2, 300) and np.isfinite(found.j).all() and np.isfinite(found.f).all()
