"""A whole set is known from a sample: unbiased, covered, and a label worth more than one of a plain sample."""

import numpy as np
import pytest
from scipy.stats import binom

from gradlens.stats.sampling import predicted, strata_of, stratified, worth
from gradlens.studies._predict_robustness import drawn

DRAWS, TOTAL, WRONG, COUNT = 400, 600, 100, 100
RNG = np.random.default_rng(0)
SCORE = RNG.exponential(size=TOTAL - WRONG)
# Up to the end of a grid, as minimal radii are.
EPS = np.minimum(SCORE * np.exp(0.3 * RNG.normal(size=len(SCORE))), 2.5)
MEASURES = {"mean": EPS, "half": (EPS > 0.7).astype(float), "few": (EPS > 2.2).astype(float)}
STRATUM = strata_of(SCORE, 25)


def draws(measure, way, new=False):
    y, share = MEASURES[measure], measure != "mean"
    for seed in range(DRAWS if way == "strata" else DRAWS // 4):
        rows = drawn(STRATUM, COUNT, seed)
        if way == "strata":
            yield stratified(y[rows], rows, STRATUM, TOTAL, share, new), rows
        else:
            yield predicted(y[rows], rows, SCORE, TOTAL, share, new, seed), rows


@pytest.mark.parametrize("way", ["strata", "isotonic"])
@pytest.mark.parametrize("measure", MEASURES)
def test_intervals_cover_and_estimates_are_unbiased(measure, way):
    truth = MEASURES[measure].sum() / TOTAL
    found = np.array([estimate.interval for estimate, _ in draws(measure, way)])
    covered = ((found[:, 1] <= truth) & (truth <= found[:, 2])).sum()
    assert covered >= binom.ppf(0.001, len(found), 0.94)
    error = found[:, 0].std(ddof=1) / np.sqrt(len(found))
    assert abs(found[:, 0].mean() - truth) < 4 * error


def test_a_label_is_worth_what_the_errors_say():
    y = MEASURES["mean"]
    whole = np.concatenate([y, np.zeros(WRONG)])
    plain = (1 - COUNT / TOTAL) * whole.var(ddof=1) / COUNT
    found = np.array([(worth(e, y[rows], rows, STRATUM, TOTAL), e.value) for e, rows in draws("mean", "strata")])
    said = found[:, 0]
    assert np.median(said) == pytest.approx(plain / found[:, 1].var(ddof=1), rel=0.25)
    assert np.median(said) > 3


def test_new_images_are_further_off_by_their_own_number():
    y, rows = MEASURES["mean"], drawn(STRATUM, COUNT, 0)
    whole = np.concatenate([y, np.zeros(WRONG)])
    for way in (
        lambda new: stratified(y[rows], rows, STRATUM, TOTAL, new=new),
        lambda new: predicted(y[rows], rows, SCORE, TOTAL, new=new),
    ):
        more = way(True).variance - way(False).variance
        assert more == pytest.approx(whole.var() / TOTAL, rel=0.35)


def test_who_attacks_all_knows_all():
    y, rows = MEASURES["half"], np.arange(len(SCORE))
    for found in (stratified(y, rows, STRATUM, TOTAL, True), predicted(y, rows, SCORE, TOTAL, True)):
        assert found.interval == pytest.approx([y.sum() / TOTAL] * 3)


def test_a_part_of_the_images_is_estimated_as_a_whole_is():
    part, y = RNG.random(len(SCORE)) < 0.3, MEASURES["mean"]
    found = []
    for seed in range(100):
        rows = drawn(STRATUM, COUNT, seed)
        found.append(predicted(y[rows], rows, SCORE, int(part.sum()), seed=seed, among=part).interval)
    value, low, high = np.array(found).T
    truth = y[part].mean()
    assert value.mean() == pytest.approx(truth, abs=4 * value.std() / 10)
    assert ((low <= truth) & (truth <= high)).sum() >= binom.ppf(0.001, 100, 0.94)


def test_a_score_that_says_nothing_explains_nothing():
    y, rows = RNG.permutation(EPS), drawn(STRATUM, COUNT, 0)
    assert predicted(y[rows], rows, SCORE, TOTAL).explained < 0.1
    rows = drawn(STRATUM, COUNT, 0)
    assert predicted(EPS[rows], rows, SCORE, TOTAL).explained > 0.6
