"""Sign flips by enumeration, adjustments against statsmodels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from condmis_jax.errors import UserError
from condmis_jax.statistics import benjamini_hochberg, holm, sign_flip


def test_sign_flip_by_enumeration() -> None:
    d = [0.3, -0.1, 0.2, 0.25, 0.05]
    sums = [abs(sum(s * x for s, x in zip(signs, d, strict=True)))
            for signs in itertools.product((1, -1), repeat=5)]  # fmt: skip
    found = sign_flip(d)
    assert found.p == pytest.approx(np.mean([x >= 0.7 - 1e-12 for x in sums]))
    assert (found.smallest, found.units) == (2 / 32, 5)


def test_agrees_with_scipys_permutation_test() -> None:
    d = np.array([0.31, -0.12, 0.22, 0.25, 0.05, 0.11, -0.02, 0.4])
    found = stats.permutation_test(
        (d,), lambda x: x.sum(), permutation_type="samples", vectorized=False, n_resamples=np.inf
    )
    assert sign_flip(d).p == pytest.approx(found.pvalue)


@pytest.mark.parametrize(("units", "smallest"), [(8, 0.0078125), (3, 0.25), (1, 1.0)])
def test_the_smallest_p_is_reached_and_never_passed(units: int, smallest: float) -> None:
    found = sign_flip(np.linspace(0.1, 0.3, units))
    assert found.p == found.smallest == smallest


def test_no_difference_has_p_one_and_no_units_have_none() -> None:
    assert sign_flip([0.0] * 4).p == 1
    assert sign_flip([0.1, -0.1]).p == 1
    assert sign_flip([]).to_dict() == {"p": None, "smallest": None, "units": 0}


def test_many_units_are_drawn_with_a_seed() -> None:
    rng = np.random.default_rng(0)
    d = rng.normal(0.3, 1, 24)
    first, again, other = sign_flip(d), sign_flip(d), sign_flip(d, seed=1)
    assert first == again
    assert first.p is not None and other.p is not None
    normal = 2 * stats.norm.sf(abs(d.sum()) / np.sqrt((d**2).sum()))
    assert first.p == pytest.approx(normal, abs=0.02)
    assert first.p == pytest.approx(other.p, abs=0.01)
    assert sign_flip(np.ones(24)).p == sign_flip(np.ones(24)).smallest == 5e-5


def test_level_is_kept_under_no_effect() -> None:
    rng = np.random.default_rng(3)
    p = [sign_flip(rng.normal(size=8)).p for _ in range(2000)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.047, abs=0.015)


def test_adjustments_agree_with_statsmodels() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        p = rng.beta(0.5, 2, int(rng.integers(1, 12))).tolist()
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
        assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1])


def test_a_comparison_that_could_not_be_made_takes_no_part() -> None:
    assert holm([0.01, None, 0.04]) == pytest.approx([0.02, None, 0.04])
    assert benjamini_hochberg([0.01, None, 0.04]) == pytest.approx([0.02, None, 0.04])
    assert holm([None]) == benjamini_hochberg([None]) == [None]
    assert holm([]) == benjamini_hochberg([]) == []
    with pytest.raises(UserError, match=r"p-value 1 of the family is 1\.5"):
        holm([0.5, 1.5])
