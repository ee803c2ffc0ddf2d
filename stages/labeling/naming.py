"""Names of masks by the similarity of their features to text (VOL; methods sheet 1.5, steps 5, 7 and 9).

Text features are those of `Vocabulary.texts`: index 0 is the rest, 1..n the targets, what follows the
background. Their rows are of length 1. Logits are 100 times a cosine.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.labeling.vocabulary import UNNAMED, Vocabulary

TEMPERATURE = 100.0
EPSILON = 1e-6
TOP = 5


@dataclass(frozen=True)
class Named:
    """What a mask is called.

    Attributes:
        name: a target, or `UNNAMED`.
        score: its probability among the rest and the targets; None for `UNNAMED`.
        top: up to 5 targets and their probabilities, falling; empty for a mask without features.
        background: the name of background (or `REST`) that fits better than any target; None otherwise.
    """

    name: str
    score: float | None
    top: tuple[tuple[str, float], ...]
    background: str | None = None


def hard_masks(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Each patch to the slot that wins it (step 4).

    Args:
        alpha: float (T, K, N).

    Returns:
        bool (M, T, N), and int64 (M,), the slots that these masks are of, rising. Slots that win nowhere
        have none.
    """
    winner = alpha.argmax(dim=1)
    slots = winner.unique()
    return winner == slots[:, None, None], slots


def pool(features: Tensor, masks: Tensor) -> Tensor:
    """Patch features summed over each mask: parts of a tube may be pooled apart and added up.

    Args:
        features: float (T, N, C).
        masks: bool (M, T, N).

    Returns:
        float32 (M, C); zeros for a mask without a patch.
    """
    return masks.flatten(1).float() @ features.flatten(0, 1).float()


def text_logits(pooled: Tensor, text: Tensor) -> Tensor:
    """100 times the cosine of pooled features (M, C) and text features (V, C); zeros where nothing is pooled.

    Returns:
        float32 (M, V).

    Raises:
        ValueError: a mask's features are not finite.
    """
    wrong = torch.nonzero(~torch.isfinite(pooled).all(dim=1)).flatten().tolist()
    if wrong:
        raise ValueError(f"features pooled over mask {wrong[0]} are not finite: they can't be named")
    # In doubles, since sums of floats depend on where in memory they lie: names have to be the same anywhere.
    pooled = pooled.double()
    unit = pooled / (pooled.norm(dim=1, keepdim=True) + EPSILON)
    return (TEMPERATURE * unit @ text.to(unit).T).float()


def fits(logits: Tensor, targets: int, threshold: float = 0.0) -> Tensor:
    """Which masks a target fits, bool (M,): its cosine exceeds ``threshold`` and that of every other name.

    Args:
        logits: (M, V) of `text_logits`.
        targets: how many targets there are (n).
        threshold: the paper's lambda, a cosine. A mask without features fits nothing, whatever the threshold.
    """
    best = logits.argmax(dim=1)
    fitting = logits[:, 1 : targets + 1].amax(dim=1) > TEMPERATURE * threshold
    # Of equal logits a GPU may take any for the largest, so zeros are told apart and not left to argmax.
    return fitting & (best >= 1) & (best <= targets) & _has_features(logits)


def keep_foreground(logits: Tensor, targets: int, threshold: float = 0.0) -> Tensor:
    """The background filter, bool (M,): masks that a target `fits`; where there is none, the single mask with
    the largest logit of a target, if any has features at all.
    """
    kept = fits(logits, targets, threshold)
    candidates = _has_features(logits)
    if not kept.any() and candidates.any():
        largest = logits[:, 1 : targets + 1].amax(dim=1).masked_fill(~candidates, -torch.inf)
        kept[largest.argmax()] = True
    return kept


def class_of(logits: Tensor, targets: int) -> Tensor:
    """The best of the rest and the targets, int64 (M,): what `merging.merge` compares.

    The argmax of feature times text summed over patches is the same: a positive factor moves none.
    """
    return logits[:, : targets + 1].argmax(dim=1)


def class_scores(logits: Tensor, targets: int) -> Tensor:
    """Probabilities of the rest and the targets, float32 (M, 1 + n); rows sum to 1."""
    return logits[:, : targets + 1].softmax(dim=1)


def name_masks(logits: Tensor, vocabulary: Vocabulary, threshold: float = 0.0) -> list[Named]:
    """A name for every mask or tube, none left out: `UNNAMED` where no target `fits`.

    Args:
        logits: (M, V), V being as many as the vocabulary has texts.
        vocabulary: the names.
        threshold: see `fits`.
    """
    texts, n = vocabulary.texts, vocabulary.targets
    if logits.shape[1] != len(texts):
        raise ValueError(f"{logits.shape[1]} logits per mask, but {len(texts)} names")
    order = logits[:, 1 : n + 1].argsort(dim=1, descending=True, stable=True)[:, :TOP]
    scores = class_scores(logits, n)[:, 1:].gather(1, order)
    facts = zip(
        fits(logits, n, threshold).tolist(),
        _has_features(logits).tolist(),
        logits.argmax(dim=1).tolist(),
        order.tolist(),
        scores.tolist(),
        strict=True,
    )
    return [
        _named(vocabulary, fitting, best, tuple((vocabulary.names[i], s) for i, s in zip(*top, strict=True)))
        if seen
        else Named(UNNAMED, None, ())
        for fitting, seen, best, *top in facts
    ]


def _named(vocabulary: Vocabulary, fitting: bool, best: int, top: tuple[tuple[str, float], ...]) -> Named:
    """The name of a mask that has features. ``best`` is the index of its best text."""
    if fitting:
        name, score = top[0]
        return Named(name, score, top)
    foreground = 1 <= best <= vocabulary.targets
    return Named(UNNAMED, None, top, None if foreground else vocabulary.texts[best])


def _has_features(logits: Tensor) -> Tensor:
    """bool (M,): False for the rows of zeros that a mask without a patch has."""
    return (logits != 0).any(dim=1)
