"""Every method that can be named."""

import dataclasses

import pytest

from stages.discovery.registry import METHODS


def test_names():
    assert set(METHODS) == {"solv", "vol", "dinosaur", "kmeans", "spectral", "blocks", "one", "centre"}
    assert all(name == method.name for name, method in METHODS.items())


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_what_all_declare(method):
    made = method()
    options = {field.name for field in dataclasses.fields(made)}
    assert method.after_training <= options
    assert made.identity()["options"].keys() == options - method.added
    assert made.mask_kinds and made.streams and made.protocol
    assert all(hasattr(made.clips(fit), "positions") for fit in made.fits())
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.anything = 1


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_all_are_implemented(method):
    made = method().implement()
    for part in ("model", "optimiser", "schedule", "segment"):
        assert callable(getattr(made, part))
