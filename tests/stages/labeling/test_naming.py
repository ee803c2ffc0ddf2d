"""Naming: by hand, in a space where every name is an axis."""

import pytest
import torch

from stages.labeling.naming import (
    UNNAMED,
    Named,
    class_of,
    class_scores,
    fits,
    hard_masks,
    keep_foreground,
    name_masks,
    pool,
    text_logits,
)
from stages.labeling.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("dog", "cat"), ("sky", "sea"))
TEXT = torch.eye(5)  # rest, dog, cat, sky, sea
REST, DOG, CAT, SKY, SEA = TEXT
NOTHING = torch.zeros(5)


def logits_of(*pooled):
    return text_logits(torch.stack(pooled), TEXT)


def test_pooling_sums_over_frames_in_single_precision():
    features = torch.tensor([[[1.0, 0.0], [2.0, 0.0]], [[0.0, 4.0], [2049.0, 3.0]]])
    masks = torch.tensor([[[1, 0], [1, 0]], [[0, 0], [0, 1]], [[0, 0], [0, 0]]], dtype=torch.bool)
    assert pool(features, masks).tolist() == [[1.0, 4.0], [2049.0, 3.0], [0.0, 0.0]]
    half = torch.full((4, 1000, 1), 40.0, dtype=torch.float16)
    assert pool(half, torch.ones(1, 4, 1000, dtype=torch.bool)).tolist() == [[160000.0]]


def test_parts_of_a_tube_add_up():
    draws = torch.Generator().manual_seed(0)
    features, masks = torch.randn(6, 7, 5, generator=draws), torch.rand(3, 6, 7, generator=draws) < 0.4
    parts = pool(features[:4], masks[:, :4]) + pool(features[4:], masks[:, 4:])
    assert torch.allclose(parts, pool(features, masks), atol=1e-5)


def test_hard_masks_leave_out_slots_that_win_nowhere():
    alpha = torch.tensor([[[0.6, 0.1], [0.1, 0.2], [0.3, 0.7]]])
    masks, slots = hard_masks(alpha)
    assert slots.tolist() == [0, 2]
    assert masks.tolist() == [[[True, False]], [[False, True]]]


def test_logits_are_cosines():
    """3 dog + 4 sky of length 5, whatever its length: cosines .6 and .8."""
    for length in (0.01, 1.0, 1000.0):
        found = logits_of(length * (3 * DOG + 4 * SKY))
        assert torch.allclose(found, torch.tensor([[0.0, 60.0, 0.0, 80.0, 0.0]]), atol=0.01)
    assert (logits_of(NOTHING) == 0).all()
    with pytest.raises(ValueError, match="mask 1 are not finite"):
        logits_of(DOG, DOG * torch.inf)


def test_the_background_filter():
    logits = logits_of(DOG, SKY + 0.9 * DOG, CAT + 0.9 * SEA, REST + 0.5 * CAT, NOTHING)
    assert keep_foreground(logits, 2).tolist() == [True, False, True, False, False]
    assert keep_foreground(logits, 2, threshold=0.8).tolist() == [True, False, False, False, False]


def test_where_nothing_survives_one_is_kept():
    """The largest cosine with a target: .6 of the second. A mask without features is never that one."""
    everything_background = logits_of(SKY + 0.1 * DOG, 0.8 * SEA + 0.6 * CAT, REST)
    assert keep_foreground(everything_background, 2).tolist() == [False, True, False]
    assert not fits(everything_background, 2).any()
    assert keep_foreground(logits_of(SKY - DOG - CAT, NOTHING), 2).tolist() == [True, False]
    assert keep_foreground(logits_of(NOTHING, NOTHING), 2).tolist() == [False, False]
    assert keep_foreground(torch.zeros(0, 5), 2).tolist() == []


def test_classes_and_scores_leave_the_background_out():
    logits = logits_of(SKY + 0.02 * CAT, REST + 0.99 * DOG)
    assert class_of(logits, 2).tolist() == [2, 0]
    scores = class_scores(logits, 2)
    assert scores.shape == (2, 3)
    assert torch.allclose(scores[0], torch.tensor([0.0, 0.0, 2.0]).softmax(0), atol=1e-3)
    assert torch.allclose(scores.sum(dim=1), torch.ones(2))


def test_names():
    dog, sky, rest, weak, nothing = name_masks(
        logits_of(DOG + 0.98 * CAT, SKY + 0.5 * CAT, REST, -SKY + 0.1 * DOG, NOTHING),
        VOCABULARY,
        threshold=0.2,
    )
    assert dog.name == "dog" and dog.background is None
    assert [name for name, _ in dog.top] == ["dog", "cat"]
    assert dog.score == dog.top[0][1] == pytest.approx(1 / (1 + 2.718281828 ** (-2 / 1.96**0.5)), abs=0.02)
    assert sum(score for _, score in dog.top) == pytest.approx(1)
    assert (sky.name, sky.score, sky.background) == (UNNAMED, None, "sky")
    assert sky.top[0][0] == "cat"
    assert (rest.name, rest.background) == (UNNAMED, "__background__")
    assert (weak.name, weak.background, weak.top[0][0]) == (UNNAMED, None, "dog")
    assert nothing == Named(UNNAMED, None, ())


def test_a_mask_without_features_is_unnamed_whatever_the_threshold():
    found = name_masks(logits_of(NOTHING, -DOG), VOCABULARY, threshold=-2.0)
    assert found[0] == Named(UNNAMED, None, ())
    assert torch.isfinite(class_scores(logits_of(NOTHING), 2)).all()


def test_five_at_most_in_falling_order():
    many = Vocabulary(tuple("abcdefg"), ())
    found = name_masks(torch.tensor([[0.0, 1, 7, 3, 3, 500, 6, 900]]), many)
    assert [name for name, _ in found[0].top] == ["g", "e", "b", "f", "c"]
    with pytest.raises(ValueError, match="5 logits per mask, but 8 names"):
        name_masks(torch.zeros(1, 5), many)
