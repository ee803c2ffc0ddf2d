"""Sentences that stand for names before a text encoder (VOL; methods sheet 1.5, step 6).

Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, get_args

from stages.errors import SettingsError

Style = Literal["code", "paper"]
"""``code``: as released, ``a photo of NAME``, names as they are. ``paper``: with an article, underscores as
spaces.
"""

STYLES: tuple[str, ...] = get_args(Style)

_HAS_ARTICLE = re.compile(r"(a|an|the) ", re.IGNORECASE)
_VOWEL_SOUND = re.compile(
    r"(?!eu|one\b|uni[^mn]|us[aeiu]|ute|uku)[aeiou]|hour|heir|honest|honou?r", re.IGNORECASE
)


def prompts(names: Iterable[str], style: str = "code") -> tuple[str, ...]:
    """The prompt of every name, in order.

    Raises:
        SettingsError: there is no such style.
    """
    if style not in STYLES:
        raise SettingsError(f"there is no prompt style {style!r}: choose {' or '.join(STYLES)}")
    phrase = str if style == "code" else _with_article
    return tuple(f"a photo of {phrase(name)}" for name in names)


def _with_article(name: str) -> str:
    words = " ".join(name.replace("_", " ").split())
    if _HAS_ARTICLE.match(words):
        return words
    return f"{'an' if _VOWEL_SOUND.match(words) else 'a'} {words}"
