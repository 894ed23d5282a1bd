"""Agreement of raters, against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest

from condmis_jax.errors import UserError
from condmis_jax.statistics import fleiss_kappa, weighted_kappa


@pytest.mark.parametrize("raters", [2, 3, 5])
def test_kappa_is_that_of_statsmodels(raters):
    from statsmodels.stats.inter_rater import fleiss_kappa as theirs

    yes = np.random.default_rng(raters).binomial(raters, 0.3, 200)
    table = np.stack([yes, raters - yes], axis=1)
    assert fleiss_kappa(yes, raters) == pytest.approx(theirs(table), abs=1e-12)


def test_the_ends_of_the_scale():
    assert fleiss_kappa([3, 0, 3, 0], 3) == 1
    assert fleiss_kappa([1, 1, 1, 1], 2) == -1
    assert fleiss_kappa([0, 0, 0], 3) is None  # all always say no
    assert fleiss_kappa([], 3) is None


def test_impossible_counts():
    with pytest.raises(UserError, match=r"not within 0\.\.3"):
        fleiss_kappa([4], 3)
    with pytest.raises(UserError, match="at least two raters"):
        fleiss_kappa([1], 1)


def test_weighted_kappa_is_that_of_statsmodels():
    from statsmodels.stats.inter_rater import cohens_kappa

    rng = np.random.default_rng(0)
    first = rng.integers(0, 4, 150)
    second = np.clip(first + rng.integers(-1, 2, 150), 0, 3)
    table = np.zeros((4, 4))
    np.add.at(table, (first, second), 1)
    theirs = cohens_kappa(table, wt="quadratic").kappa
    assert weighted_kappa(list(first), list(second), 4) == pytest.approx(theirs, abs=1e-12)


def test_weighted_kappa_of_odd_inputs():
    assert weighted_kappa([0, 2, 1], [0, 2, 1], 3) == 1
    assert weighted_kappa([1, 1], [1, 1], 3) is None
    assert weighted_kappa([], [], 3) is None
    with pytest.raises(UserError, match="1 answers of one rater and 2"):
        weighted_kappa([0], [0, 1], 2)
    with pytest.raises(UserError, match=r"not within 0\.\.1"):
        weighted_kappa([0, 2], [0, 1], 2)
