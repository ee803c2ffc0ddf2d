from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import ClassVar

import pytest

from stages.outcome import ERROR_CLASSES, MediaError, Rejected
from stages.stage import ReduceStage, canonical


@dataclass(frozen=True)
class Toy(ReduceStage):
    kind: ClassVar[str] = "toy"
    size: tuple[int, int] = (2, 3)
    rate: float = 5.0
    text: str | None = None

    @property
    def name(self):
        return "toy"

    def make(self, inputs, folder, context):
        raise AssertionError


@dataclass(frozen=True)
class Toy2(Toy):
    version: ClassVar[int] = 2


def test_equal_settings_have_equal_fingerprints():
    assert Toy(size=[2, 3]).fingerprint() == Toy(rate=5).fingerprint() == Toy().fingerprint()  # type: ignore


@pytest.mark.parametrize(
    "other", [Toy(size=(3, 2)), Toy(rate=5.5), Toy(text=""), Toy2()], ids=["size", "rate", "text", "version"]
)
def test_whatever_changes_the_result_changes_the_fingerprint(other):
    assert other.fingerprint() != Toy().fingerprint()


def test_inputs_are_part_of_it():
    assert len({Toy().fingerprint(i) for i in ([], ["a"], ["b"], ["a", "b"], ["b", "a"])}) == 5


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), b"x"])
def test_what_has_no_canonical_form_is_refused(value):
    with pytest.raises(TypeError):
        canonical(value)


def test_media_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(MediaError("timeout", "no answer", 2)))
    assert (error.error_class, error.message, error.attempts) == ("timeout", "no answer", 2)
    assert Rejected.of("v", error) == Rejected("v", "timeout", "no answer", 2)
    with pytest.raises(ValueError, match="unknown error class"):
        MediaError("oops", "x")  # type: ignore[arg-type]
    assert len(ERROR_CLASSES) == 13
