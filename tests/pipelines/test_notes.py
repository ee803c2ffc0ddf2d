"""What a plan and a run say about weights that were drawn by lot."""

from __future__ import annotations

import pytest

from configs.compose import compose
from pipelines.notes import naming_warning


@pytest.mark.parametrize(
    ("recipe", "changes", "loud"),
    [
        ("label_corpus", ("label.weights=random",), True),
        ("label_corpus", (), False),
        ("features", ("label.weights=random",), False),  # names nothing
    ],
)
def test_random_weights_are_told_of_where_they_name(
    recipe: str, changes: tuple[str, ...], loud: bool
) -> None:
    said = naming_warning(compose(recipe, assignments=["data.root=/some/videos", *changes]))
    assert (said or "").startswith("THE NAMES MEAN NOTHING") == loud
