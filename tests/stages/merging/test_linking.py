"""Linking of slots whose identity is known."""

import numpy as np

from stages.merging.linking import link, similarity


def frames(*rows):
    return [np.eye(5, dtype=np.float32)[list(row)] for row in rows]


def test_labels_follow_permuted_slots():
    assert [x.tolist() for x in link(frames([0, 1, 2], [2, 0, 1], [1, 2, 0]))] == [
        [0, 1, 2],
        [2, 0, 1],
        [1, 2, 0],
    ]


def test_many_frames_of_permuted_noise():
    draw = np.random.default_rng(0)
    base = draw.standard_normal((6, 32))
    orders = [np.arange(6), *(draw.permutation(6) for _ in range(20))]
    noisy = [base[order] + 0.1 * draw.standard_normal((6, 32)) for order in orders]
    for order, labels in zip(orders, link(noisy), strict=True):
        assert labels.dtype == np.int64 and (labels == order).all()


def test_a_slot_too_many_shares_the_label_of_the_most_similar():
    before = np.array([[1.0, 0], [0, 1.0]])
    now = np.array([[0.1, 1.0], [0, 1.0], [1.0, 0]])
    assert link([before, now])[1].tolist() == [1, 1, 0]


def test_a_label_that_ends_is_not_given_again():
    """Two slots, then one, then two: the new one continues what is left."""
    labels = link(frames([0, 1], [1], [1, 0]))
    assert [x.tolist() for x in labels] == [[0, 1], [1], [1, 1]]


def test_the_total_decides_and_not_the_first_best():
    """Both slots are nearest to the first one; only one can have it."""
    before = np.array([[1.0, 0.0], [0.6, 0.8]])
    now = np.array([[1.0, 0.05], [1.0, -0.3]])
    assert similarity(before, now).argmax(0).tolist() == [0, 0]
    assert link([before, now])[1].tolist() == [1, 0]


def test_one_frame_and_zero_vectors():
    assert [x.tolist() for x in link(frames([3, 1]))] == [[0, 1]]
    zeros = [np.zeros((2, 3)), np.zeros((2, 3))]
    assert np.isfinite(similarity(*zeros)).all() and sorted(link(zeros)[1].tolist()) == [0, 1]
