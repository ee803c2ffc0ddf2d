"""All methods by name. Imports no torch."""

from __future__ import annotations

from stages.discovery.baselines import (
    BlocksMethod,
    CentreBoxMethod,
    KMeansMethod,
    OneMethod,
    SpectralMethod,
)
from stages.discovery.contract import Method
from stages.discovery.dinosaur import DinosaurMethod
from stages.discovery.solv import SolvMethod
from stages.discovery.vol import VolMethod

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        SolvMethod,
        VolMethod,
        DinosaurMethod,
        KMeansMethod,
        SpectralMethod,
        BlocksMethod,
        OneMethod,
        CentreBoxMethod,
    )
}
