"""Declarations of the methods without training."""

import pytest

from stages.discovery.baselines import (
    BlocksMethod,
    CentreBoxMethod,
    KMeansMethod,
    OneMethod,
    SpectralMethod,
)
from stages.errors import SettingsError

ALL = (OneMethod, CentreBoxMethod, BlocksMethod, KMeansMethod, SpectralMethod)


@pytest.mark.parametrize("method", ALL)
def test_nothing_is_trained(method):
    made = method()
    assert made.fits() == () and made.mask_kinds == ("cluster",) and made.streams == (("base", "tokens"),)
    with pytest.raises(ValueError, match=f"method {made.name} has no training 'x'"):
        made.clips("x")


@pytest.mark.parametrize("method", [BlocksMethod, KMeansMethod, SpectralMethod])
@pytest.mark.parametrize("clusters", [0, -3])
def test_too_few_clusters_are_named(method, clusters):
    with pytest.raises(SettingsError, match=f"{method.name}.clusters={clusters}"):
        method(clusters=clusters)


def test_facets_and_what_is_known():
    assert KMeansMethod(facet="keys").facets == SpectralMethod(facet="keys").facets == ("keys",)
    assert SpectralMethod().knowing(3) == SpectralMethod(count=3)
    assert KMeansMethod().knowing(3) == KMeansMethod()
