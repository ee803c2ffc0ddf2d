"""Which protocols fit which ground truth: asked before anything runs. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from stages.catalog.truth import BOX_RULES
from stages.errors import SettingsError
from stages.metrics.all_protocols import ALL_PROTOCOLS, needs_masks, needs_words


def refuse_unfit(protocols: Sequence[str], rule: str, named: bool) -> None:
    """Make sure that every protocol can say something about ground truth of that rule.

    Args:
        protocols: names of `ALL_PROTOCOLS`.
        rule: see `stages.catalog.truth`.
        named: whether the recipe names what it finds.

    Raises:
        SettingsError: one needs masks where there are boxes, words of objects that the data hasn't, or names
            that the recipe doesn't give; tells which fit.
    """
    boxes = rule in BOX_RULES
    masks = [name for name in protocols if needs_masks(name)]
    if boxes and masks:
        fitting = [name for name in ALL_PROTOCOLS if not needs_masks(name) and not needs_words(name)]
        raise SettingsError(
            f"metrics.protocols: {', '.join(masks)}: the ground truth of this data set is boxes ({rule}), "
            f"and these compare masks; those that fit are {', '.join(fitting)}"
        )
    words = [name for name in protocols if needs_words(name)]
    if words and rule != "sprites":
        raise SettingsError(
            f"metrics.protocols: {', '.join(words)}: only data.kind=sprites says by which words its objects "
            "may be called; leave these out"
        )
    if words and not named:
        raise SettingsError(
            f"metrics.protocols: {', '.join(words)}: this recipe names nothing; take one with the stage "
            "named, or leave these out"
        )
