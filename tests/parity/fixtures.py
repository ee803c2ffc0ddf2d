"""The golden fixtures, and the rule by which numbers are compared with them."""

from safetensors.torch import load_file

from tests.outside import outside


def fixture(name):
    return load_file(outside("golden", f"{name}.safetensors"))


def assert_close(found, expected, relative=1e-4):
    """The golden README's default: |a - b| <= 1e-5 + 1e-4 * max|reference|."""
    assert found.shape == expected.shape
    assert (found.double() - expected.double()).abs().max() <= 1e-5 + relative * expected.abs().max()
