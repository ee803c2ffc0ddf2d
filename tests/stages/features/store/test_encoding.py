import numpy as np
import pytest

from stages.features.store.encoding import decode_int8, encode, to_fp16


def outlier_channels(seed: int, tokens: int = 256, width: int = 384) -> np.ndarray:
    """Tokens as ViTs give them: an offset per channel, a few channels 20 to 60 times as large as the rest."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((tokens, width)) + random.standard_normal(width)
    loud = random.choice(width, 4, replace=False)
    values[:, loud] *= random.uniform(20, 60, 4)
    return values.astype(np.float16)


def min_cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).min())


def decoded(array: np.ndarray) -> np.ndarray:
    (_, values), (ending, scale) = encode(array, "int8")
    assert (values.dtype, scale.dtype, scale.shape, ending) == (
        np.int8,
        np.float32,
        array.shape[-1:],
        "_scale",
    )
    return decode_int8(values[None], scale[None])[0]


@pytest.mark.parametrize("seed", range(4))
def test_int8_keeps_every_token_in_direction(seed: int) -> None:
    array = outlier_channels(seed)
    assert min_cosine(array, decoded(array)) > 0.999
    quiet = np.abs(array).max(0) < 10  # the loud channels must not carry the comparison alone
    assert min_cosine(array[:, quiet], decoded(array)[:, quiet]) > 0.999


@pytest.mark.parametrize("shape", [(7, 5), (1, 3), (4, 3, 6)])
def test_int8_error_is_at_most_half_a_step(shape: tuple[int, ...]) -> None:
    array = (np.random.default_rng(1).standard_normal(shape) * 50).astype(np.float16)
    step = np.abs(array.astype(np.float64)).max(tuple(range(len(shape) - 1))) / 127
    error = np.abs(decoded(array).astype(np.float64) - array)
    assert (error <= step / 2 + np.abs(array) * 2.0**-11 + 1e-7).all()  # and fp16's own rounding


def test_a_channel_of_zeros_stays_zero() -> None:
    array = np.ones((4, 3), np.float16)
    array[:, 1] = 0
    np.testing.assert_array_equal(decoded(array), array)


def test_a_class_token_stays_fp16() -> None:
    array = np.arange(5, dtype=np.float16)
    ((ending, stored),) = encode(array, "int8")
    assert ending == ""
    np.testing.assert_array_equal(stored, array)


def test_fp16_rounds_wider_floats_and_keeps_the_bits_of_fp16() -> None:
    array = np.random.default_rng(0).standard_normal((3, 4))
    np.testing.assert_array_equal(to_fp16(array), array.astype(np.float16))
    half = array.astype(np.float16).T
    stored = to_fp16(half)
    assert stored.flags.c_contiguous
    np.testing.assert_array_equal(stored, half)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e5])
def test_what_fp16_can_not_hold_is_refused(bad: float) -> None:
    array = np.ones((2, 2))
    array[1, 1] = bad
    with pytest.raises(ValueError, match="NaN, infinities"):
        to_fp16(array)


@pytest.mark.parametrize("array", [np.ones((2, 2), np.int64), np.ones((0, 4)), np.float64(1)])
def test_what_is_no_feature_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="floating-point arrays"):
        to_fp16(np.asarray(array))


@pytest.mark.parametrize("encoding", ["fp16", "int8"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_whole_numbers_are_stored_exactly(encoding: str, dtype: type) -> None:
    limits = np.iinfo(dtype)
    array = np.linspace(limits.min, limits.max, 12).astype(dtype).reshape(3, 4).T
    ((ending, stored),) = encode(array, encoding)
    assert ending == "" and stored.dtype == dtype and stored.flags.c_contiguous
    np.testing.assert_array_equal(stored, array)
    with pytest.raises(ValueError, match="floating-point arrays"):
        encode(np.zeros((0, 3), dtype), encoding)
