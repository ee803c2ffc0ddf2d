"""Prompts in both styles."""

import pytest

from stages.errors import SettingsError
from stages.labeling.prompts import prompts


@pytest.mark.parametrize(
    ("name", "code", "paper"),
    [
        ("dog", "dog", "a dog"),
        ("red_panda", "red_panda", "a red panda"),
        ("Airplane", "Airplane", "an Airplane"),
        ("unicorn", "unicorn", "a unicorn"),
        ("umbrella", "umbrella", "an umbrella"),
        ("hourglass", "hourglass", "an hourglass"),
        ("house", "house", "a house"),
        ("a red star", "a red star", "a red star"),
        ("__background__", "__background__", "a background"),
    ],
)
def test_styles(name, code, paper):
    assert prompts([name]) == (f"a photo of {code}",)
    assert prompts([name], "paper") == (f"a photo of {paper}",)


def test_order_and_unknown_style():
    assert prompts(["cat", "dog"]) == ("a photo of cat", "a photo of dog")
    with pytest.raises(SettingsError, match="'poetic': choose code or paper"):
        prompts(["cat"], "poetic")
