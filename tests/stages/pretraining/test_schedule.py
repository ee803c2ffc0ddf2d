import pytest

from stages.pretraining.schedule import peak_rate, warmup_cosine


def test_rates_of_the_published_run():
    """512 clips a step: 2e-6 at first, 3e-4 after 40 of 800 epochs, 2e-5 at the end (methods sheet 1.4)."""
    steps = 800 * 330
    peak = peak_rate(512)
    rates = {step: peak * warmup_cosine(step, steps) for step in (0, 20 * 330, 40 * 330, 420 * 330, steps)}
    assert list(rates.values()) == pytest.approx([2e-6, 1.51e-4, 3e-4, 1.6e-4, 2e-5])


def test_up_then_down():
    factors = [warmup_cosine(step, 200, warmup=0.1) for step in range(200)]
    assert max(factors) == factors[20] == 1.0
    assert factors[:21] == sorted(factors[:21])
    assert factors[20:] == sorted(factors[20:], reverse=True)


@pytest.mark.parametrize("steps", [1, 2, 19])
def test_a_run_too_short_to_warm_up_starts_at_the_peak(steps):
    assert warmup_cosine(0, steps) == 1.0
    assert 0 < warmup_cosine(steps - 1, steps) <= 1.0
