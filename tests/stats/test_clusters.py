"""Intervals over clusters are those of a cluster-robust regression, cover as they say, and are missing where due."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from gradlens.stats.clusters import effective, freedom, jackknife, mean_error, members
from gradlens.stats.inference import crossed_t, paired_median, paired_t
from gradlens.stats.intervals import LOG, flags_interval, mean_interval, quantile_interval, too_skew
from gradlens.stats.separation import auc_interval

UNLIKE = np.repeat(np.arange(25), (1,) * 10 + (5,) * 10 + (20,) * 5)
EIGHT = np.repeat(np.arange(8), 25)


def clustered(rng, cluster, icc=0.7):
    return np.sqrt(icc) * rng.normal(size=cluster.max() + 1)[cluster] + np.sqrt(1 - icc) * rng.normal(size=len(cluster))


def test_the_error_of_clusters_of_a_size_is_statsmodels(rng):
    x = clustered(rng, EIGHT)
    fit = sm.OLS(x, np.ones(len(x))).fit(cov_type="cluster", cov_kwds={"groups": EIGHT}, use_t=True)
    error, degrees = mean_error(x, EIGHT)
    assert (error, degrees) == pytest.approx((fit.bse[0], 7))
    # Whatever the clusters are called.
    np.testing.assert_allclose(mean_interval(x, cluster=EIGHT.astype(str))[1:], fit.conf_int()[0])


def test_clusters_of_one_image_are_no_clusters(rng):
    x, own = rng.normal(size=40), rng.permutation(40)
    np.testing.assert_allclose(mean_error(x, own), mean_error(x))
    np.testing.assert_allclose(paired_t(x, cluster=own), paired_t(x))
    groups = [[rng.normal(size=(40, 1)) for _ in range(3)] for _ in range(2)]
    np.testing.assert_allclose(crossed_t(*groups, cluster=own)[0], crossed_t(*groups)[0])


def test_error_and_degrees_of_unlike_clusters_are_their_definition(rng):
    """CR2 with matrices, as in Pustejovsky and Tipton 2018, for a regression on 1."""
    x, (member, size) = clustered(rng, UNLIKE), members(UNLIKE)
    n = len(x)
    hat, same = np.full((n, n), 1 / n), member[:, None] == member
    adjusted = np.zeros((n, n))
    for k in range(len(size)):
        rows = np.ix_(member == k, member == k)
        values, vectors = np.linalg.eigh(np.eye(size[k]) - hat[rows])
        adjusted[rows] = vectors @ np.diag(values**-0.5) @ vectors.T
    # Each cluster's share of the variance is (g'x)².
    g = np.stack([(member == k) @ adjusted @ (np.eye(n) - hat) / n for k in range(len(size))])
    middle = g @ same @ g.T
    expected = np.sqrt(((g @ x) ** 2).sum()), np.trace(middle) ** 2 / (middle**2).sum()
    assert mean_error(x, UNLIKE) == pytest.approx(expected)


def test_the_jackknife_of_a_mean_is_its_error(rng):
    x = clustered(rng, EIGHT)
    assert jackknife(lambda kept: x[kept].mean(), EIGHT) == pytest.approx(mean_error(x, EIGHT))
    many = np.arange(1000)
    y = rng.normal(size=1000)
    error, degrees = jackknife(lambda kept: y[kept].mean(), many)
    assert degrees == pytest.approx(99)
    # 100 groups tell a standard error to 7 %.
    assert error == pytest.approx(y.std() / np.sqrt(1000), rel=0.25)


def test_copies_are_worth_one_image(rng):
    flags = rng.random(50) < 0.3
    one, copied = flags, np.repeat(flags, 6)
    cluster = np.repeat(np.arange(50), 6)
    worth = effective(copied, cluster, 0.95)
    assert worth == pytest.approx(49 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 49)) ** 2)
    wide, narrow = (np.ptp(flags_interval(f, cluster=c)[1:]) for f, c in ((copied, cluster), (one, None)))
    assert narrow < wide < 1.1 * narrow
    # Where every flag is one, clusters are what was seen.
    _, low, high = flags_interval(np.ones(60, bool), cluster=np.repeat(np.arange(6), 10))
    assert high == 1
    assert 0.4 < low < 0.61


@pytest.mark.parametrize("cluster", [EIGHT, UNLIKE], ids=["of a size", "unlike"])
def test_intervals_over_clusters_cover_as_they_say(rng, cluster):
    trials, hits = 400, np.zeros(5)
    for _ in range(trials):
        x, positive = clustered(rng, cluster), rng.random(len(cluster)) < 0.5
        found = [
            mean_interval(x, cluster=cluster),
            quantile_interval(x, cluster=cluster),
            flags_interval(x > 1, cluster=cluster),
            paired_median(x, cluster=cluster)[:3],
            mean_interval(x),
        ]
        truths = (0, 0, stats.norm.sf(1), 0, 0)
        hits += [low <= truth <= high for (_, low, high), truth in zip(found, truths, strict=True)]
        assert np.isfinite(auc_interval(x, positive, cluster=cluster)[0])
    # 93 % and four standard errors of 400 trials; as if images were independent, half and less.
    assert (hits[:4] / trials > 0.93 - 0.051).all()
    assert hits[4] / trials < 0.7


def test_the_crossed_interval_over_clusters_speaks_of_new_ones(rng):
    trials, hits = 150, np.zeros(2)
    for _ in range(trials):
        favour = [clustered(rng, EIGHT)[:, None] for _ in range(2)]
        a, b = ([f + 0.1 * rng.normal() + rng.normal(size=f.shape) for _ in range(5)] for f in favour)
        found = crossed_t(a, b, cluster=EIGHT)[0], crossed_t(a, b)[0]
        hits += [one.low <= 0 <= one.high for one in found]
    assert hits[0] / trials > 0.93 - 4 * np.sqrt(0.93 * 0.07 / trials)
    assert hits[1] / trials < 0.7


def test_one_cluster_has_no_interval(rng):
    x, one, flags = rng.lognormal(size=50), np.zeros(50), rng.random(50) < 0.5
    groups = [[rng.normal(size=(50, 1)) for _ in range(3)] for _ in range(2)]
    for found in (
        mean_interval(x, cluster=one),
        quantile_interval(x, cluster=one),
        flags_interval(flags, cluster=one),
        auc_interval(x, flags, cluster=one),
        crossed_t(*groups, cluster=one)[0][:3],
        paired_t(x, cluster=one)[:3],
    ):
        assert np.isfinite(found[0])
        assert np.isnan(found[1:]).all()
    assert np.isnan(LOG.jackknife(lambda kept: x[kept].mean(), one)).all()


# --- heavy tails


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_a_mean_that_hangs_on_single_images_has_no_interval(rng, sigma):
    trials = 1000
    found = np.array([mean_interval(x) for x in rng.lognormal(0, sigma, (trials, 100))])
    given = np.isfinite(found[:, 1])
    truth = np.exp(sigma**2 / 2)
    missed = given & ~((found[:, 1] <= truth) & (truth <= found[:, 2]))
    assert missed.mean() < 0.06 + 3 * np.sqrt(0.06 * 0.94 / trials)
    assert given.mean() < 0.3
    assert np.mean([too_skew(x) for x in rng.normal(size=(trials, 100))]) < 0.01


def test_the_median_of_differences_errs_as_often_as_it_says_whatever_the_tails(rng):
    trials = 1000
    found = [paired_median(x) for x in rng.standard_cauchy((trials, 100))]
    wrong = [np.mean([one.p <= 0.05 for one in found]), np.mean([not one.low <= 0 <= one.high for one in found])]
    # The sign test of 100 images cannot err in exactly 5 %.
    assert max(wrong) < 0.06 + 4 * np.sqrt(0.06 * 0.94 / trials)
    assert min(wrong) > 0.02
    assert paired_median(np.r_[np.ones(30), np.full(10, -1.0)]).p < 0.01


def test_degrees_of_freedom_of_one_large_cluster_are_few():
    assert freedom(np.full(12, 5)) == pytest.approx(11)
    assert freedom(np.r_[np.ones(200), 100]) < 1.2
