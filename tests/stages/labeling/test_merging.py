"""Merging by name: by hand, and against the published rule taken literally."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stages.errors import SettingsError
from stages.labeling.merging import Merged, merge, touching

DOG, CAT = 1, 2


def masks_of(*frames):
    """Masks (M, T, h, w) of label maps; a dot is no mask's."""
    labels = np.array([[list(row) for row in frame.split()] for frame in frames])
    return np.stack([labels == name for name in sorted(set(labels.ravel()) - {"."})])


def merged(masks, names, kept=None, adjacency="spatiotemporal"):
    names = np.array(names)
    kept = np.ones(len(names), bool) if kept is None else np.array(kept)
    return merge(touching(masks, adjacency), names, kept).members


def test_masks_that_touch_and_have_one_name():
    masks = masks_of("aab. aab.")
    assert merged(masks, [DOG, DOG]) == ((0, 1),)
    assert merged(masks, [DOG, CAT]) == ((0,), (1,))
    found = Merged(((0, 1),), 2)
    assert found.sums(np.array([[1.0, 2], [3, 5]], np.float32)).tolist() == [[4, 7]]
    assert found.masks(masks).tolist() == [[[[True, True, True, False]] * 2]]


def test_masks_apart():
    assert merged(masks_of("a.b a.b"), [DOG, DOG]) == ((0,), (1,))


def test_contact_in_time_counts_in_one_rule():
    """b is where a was a frame before; within the frames they never meet."""
    masks = masks_of("a.. a..", "b.. b..")
    assert merged(masks, [DOG, DOG]) == ((0, 1),)
    assert merged(masks, [DOG, DOG], adjacency="spatial") == ((0,), (1,))
    later = masks_of("a.", "..", "b.")
    assert merged(later, [DOG, DOG]) == ((0,), (1,))


def test_only_forward_diagonals_touch():
    assert merged(masks_of("a. .b"), [DOG, DOG], adjacency="spatial") == ((0, 1),)
    assert merged(masks_of(".a b."), [DOG, DOG], adjacency="spatial") == ((0,), (1,))
    assert merged(masks_of("a. ..", ".. .b"), [DOG, DOG]) == ((0, 1),)
    assert merged(masks_of(".. .b", "a. .."), [DOG, DOG]) == ((0,), (1,))


def test_a_chain_merges_unless_its_middle_is_filtered():
    masks = masks_of("abc")
    assert merged(masks, [DOG, DOG, DOG]) == ((0, 1, 2),)
    assert merged(masks, [DOG, DOG, DOG], [True, False, True]) == ((0,), (2,))
    assert merged(masks, [DOG, CAT, DOG]) == ((0,), (1,), (2,))


def test_nothing_to_merge():
    assert merged(masks_of("ab"), [DOG, DOG], [False, False]) == ()
    assert Merged((), 2).masks(masks_of("ab")).shape == (0, 1, 1, 2)
    empty = np.zeros((2, 1, 1, 2), bool)
    assert merged(empty, [DOG, DOG]) == ((0,), (1,))


def test_unknown_adjacency():
    with pytest.raises(SettingsError, match="'temporal': choose spatiotemporal or spatial"):
        touching(masks_of("ab"), "temporal")


def touching_by_rule(masks, adjacency):
    patches = [set(zip(*np.nonzero(mask), strict=True)) for mask in masks]
    steps = list(product((0, 1) if adjacency == "spatiotemporal" else (0,), (0, 1), (0, 1)))
    found = np.zeros((len(masks), len(masks)), bool)
    for i, j in product(range(len(masks)), repeat=2):
        moved = {(t + dt, y + dy, x + dx) for t, y, x in patches[i] for dt, dy, dx in steps}
        if i != j and moved & patches[j]:
            found[i, j] = found[j, i] = True
    return found


def merge_by_rule(touch, scores, kept, order):
    """The published loop; neighbours in a random order."""
    nodes = {i: (scores[i], {i}) for i in np.flatnonzero(kept).tolist()}
    edges = {i: {j for j in nodes if touch[i, j]} for i in nodes}
    while pair := next(
        (
            (i, j)
            for i in sorted(nodes)
            for j in order.permutation(sorted(edges[i])).tolist()
            if len({nodes[i][0].argmax(), nodes[j][0].argmax(), (nodes[i][0] + nodes[j][0]).argmax()}) == 1
        ),
        None,
    ):
        i, j = pair
        (first, members), (second, more) = nodes[i], nodes.pop(j)
        nodes[i] = first + second, members | more
        edges[i] = (edges[i] | edges.pop(j)) - {i, j}
        for k, others in edges.items():
            if j in others:
                edges[k] = (others - {j}) | ({i} if k != i else set())
    return {i: tuple(sorted(members)) for i, (_, members) in nodes.items()}


@settings(max_examples=150, deadline=None)
@given(
    arrays.arrays(
        int, st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)), elements=st.integers(0, 7)
    ),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["spatiotemporal", "spatial"]),
)
def test_equal_to_the_rule(labels, seed, adjacency):
    order = np.random.default_rng(seed)
    masks = labels == np.arange(8)[:, None, None, None]
    scores, kept = order.normal(size=(8, 3)), order.random(8) < 0.8
    touch = touching(masks, adjacency)
    assert (touch == touching_by_rule(masks, adjacency)).all()
    expected = merge_by_rule(touch, scores, kept, order)
    found = merge(touch, scores.argmax(axis=1), kept).members
    assert {members[0]: members for members in found} == expected
    assert [members[0] for members in found] == sorted(expected)
