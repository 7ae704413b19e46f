import numpy as np
import pytest
from scipy import stats
from scipy.special import lambertw

from replication.analyse.stats.printed.audit_model import standard_error
from replication.analyse.stats.two_studies.criteria import Criterion, panel
from replication.errors import AnalysisError

NAMES = [
    "significance and direction", "original in replication interval", "prediction interval",
    "empirical-Bayes prediction interval", "Q test", "small telescopes", "sceptical p-value, golden",
    "sceptical p-value, nominal", "sceptical p-value, controlled", "relative effect, golden", "predictive power, golden",
    "replication Bayes factor", "sceptical Bayes factor", "harmonic mean chi-square", "Edgington's sum of p-values",
    "pooled estimate", "evidence updating", "equivalence to no effect", "type S error", "exaggeration (type M)",
]  # fmt: skip


def judged(*studies: float, **settings: float) -> dict[str, Criterion]:
    return {criterion.name: criterion for criterion in panel(*studies, **{"sesoi": 3.0, **settings})}


def verdicts(found: dict[str, Criterion]) -> dict[str, bool | None]:
    return {name: criterion.met for name, criterion in found.items()}


# Audit of the published table (arXiv 2606.24597, Table 9) at the stated runs, icc = rho = .5, in points
ROWS = {  # scores of both arms, tasks, runs; theta_33, interval of an equal repeat, golden success possible, d_min, c
    "TB2": (33.25, 39.55, 89, 5, 6.471, -5.505, 18.11, False, None, None),
    "SWE-V": (64.47, 67.86, 500, 3, 2.933, -1.961, 8.741, True, 1.83, None),
    "SWE-Pro": (42.18, 47.42, 731, 3, 2.548, 0.5924, 9.888, True, 0.5667, 0.8517),
    "WideSearch": (33.38, 46.17, 200, 1, 6.386, 1.139, 24.44, True, 0.5872, 0.9354),
    "Claw-Eval": (53.6, 64.88, 104, 3, 6.641, -0.8351, 23.4, True, 0.7443, 2.123),
    "QwenClawBench": (39.76, 49.43, 100, 3, 6.862, -2.849, 22.19, True, 1.036, None),
    "BFCL": (62.29, 71.25, 882, 1, 2.939, 3.598, 14.32, True, 0.3528, 0.2979),
}


def original(row: str) -> tuple[float, float]:
    a, b, n, k = ROWS[row][:4]
    return b - a, 100 * float(standard_error(a / 100, b / 100, n, k, icc=0.5, rho=0.5))


@pytest.mark.parametrize("row", ROWS)
def test_a_faithful_equal_sized_repeat_of_each_published_row(row):
    *_, theta_33, low, high, possible, d_min, c = ROWS[row]
    theta, se = original(row)
    found = judged(theta, se, theta, se)
    telescope, golden = found["small telescopes"], found["sceptical p-value, golden"]
    assert telescope.threshold == pytest.approx(theta_33, rel=1e-3)
    assert telescope.met is (None if row == "TB2" else True)
    interval = found["prediction interval"]
    assert theta + interval.threshold == pytest.approx(high, rel=1e-3)
    assert theta - interval.threshold == pytest.approx(low, rel=1e-3, abs=0.002)
    assert ("no effect at all would pass too" in interval.reason) == (low < 0)
    assert (golden.met is not None) == possible
    relative = found["relative effect, golden"]
    if d_min is None:
        assert relative.threshold is None and relative.met is None
    else:
        assert relative.threshold == pytest.approx(d_min, rel=1e-3)
        assert relative.met is golden.met is (d_min <= 1)
    power = found["predictive power, golden"]
    assert power.met is (None if row == "TB2" else c is not None and c <= 1)
    if c is not None:
        assert float(power.reason.split()[1]) == pytest.approx(c, rel=1e-3)


def test_an_original_that_could_not_have_seen_its_own_estimate_is_uninformative_and_never_failed():
    theta, se = original("TB2")
    for theta_r in (-20.0, 0.0, 20.0):
        found = judged(theta, se, theta_r, 1.0)
        for name in (
            "small telescopes", "sceptical p-value, golden", "sceptical p-value, nominal", "relative effect, golden",
            "predictive power, golden", "sceptical Bayes factor", "harmonic mean chi-square", "Edgington's sum of p-values",
        ):  # fmt: skip
            assert found[name].met is None, name
    assert "z_o = 1.479 <= 1.541" in found["sceptical p-value, golden"].reason
    assert "theta_33 = 6.471 exceeds the original estimate 6.3" in found["small telescopes"].reason


def test_every_criterion_has_its_name_reason_and_source():
    found = panel(6.0, 2.0, 5.0, 2.0, sesoi=3.0)
    assert [criterion.name for criterion in found] == NAMES
    assert all(criterion.reason and criterion.source for criterion in found)
    assert all(isinstance(criterion.met, bool | None) for criterion in found)
    assert [criterion.name for criterion in found if criterion.favours == "no effect"] == ["equivalence to no effect"]


def test_a_clear_replication_meets_every_criterion():
    found = verdicts(judged(8.0, 1.5, 7.5, 1.2, prior_sd=5.0))
    undecided = {"type S error", "exaggeration (type M)"}
    assert {name for name, met in found.items() if met is None} == undecided
    assert {name for name, met in found.items() if met is False} == {"equivalence to no effect"}


def test_a_clear_failure_meets_equivalence_alone():
    found = verdicts(judged(8.0, 1.5, 0.0, 0.5, prior_sd=5.0))
    assert {name for name, met in found.items() if met} == {"equivalence to no effect", "predictive power, golden"}
    assert found["small telescopes"] is False
    assert found["sceptical Bayes factor"] is None  # no level at which it succeeds


def test_negative_originals_are_judged_as_their_mirror_image():
    plus, minus = (
        panel(6.0, 2.0, 2.5, 1.0, sesoi=3.0, prior_sd=4.0),
        panel(-6.0, 2.0, -2.5, 1.0, sesoi=3.0, prior_sd=4.0),
    )
    assert plus == minus
    assert panel(6.0, 2.0, -2.5, 1.0, sesoi=3.0) != plus


def test_values_and_thresholds_by_hand():
    # z_o = 3, z_r = 2.5, c = 1: the oracle cases of the single modules
    found = judged(6.0, 2.0, 5.0, 2.0, sesoi=4.0, prior_sd=2.0)
    expected = {
        "significance and direction": (2.5, 1.959964),
        "original in replication interval": (1.0, 2 * 1.959964),
        "prediction interval": (1.0, 1.959964 * 8**0.5),
        "empirical-Bayes prediction interval": (abs(5 - 6 * 8 / 9), 1.959964 * (4 * 8 / 9 + 4) ** 0.5),
        "Q test": (2 * stats.norm.sf(1 / 8**0.5), 0.05),
        "small telescopes": (5 + 1.644854 * 2, 1.519356679 * 2),
        "sceptical p-value, golden": (0.00728324385503, 0.025),
        "sceptical p-value, nominal": (0.0273940301075, 0.025),
        "sceptical p-value, controlled": (0.00553355689656, 0.025),
        "predictive power, golden": (0.80275618, 0.8),
        "replication Bayes factor": (
            stats.norm.pdf(2.5) / stats.norm.pdf(2.5, 3, 2**0.5), 1 / 3,
        ),
        "sceptical Bayes factor": (0.1913778210389895, 1 / 3),
        "harmonic mean chi-square": (stats.chi2.sf(4 / (1 / 9 + 1 / 6.25), 1) / 4, 0.025**2),
        "Edgington's sum of p-values": ((stats.norm.sf(3) + stats.norm.sf(2.5)) ** 2 / 2, 0.025**2),
        "pooled estimate": (5.5 / 2**0.5, 1.959964),
        "evidence updating": (
            stats.multivariate_normal.pdf([3, 2.5], [0, 0], np.eye(2))
            / stats.multivariate_normal.pdf([3, 2.5], [0, 0], [[2, 1], [1, 2]]),
            1 / 3,
        ),
        "equivalence to no effect": (stats.norm.cdf((5 - 4) / 2), 0.05),
    }  # fmt: skip
    for name, (value, threshold) in expected.items():
        assert found[name].value == pytest.approx(value, rel=1e-6), name
        assert found[name].threshold == pytest.approx(threshold, rel=1e-6), name
    assert found["relative effect, golden"].value == pytest.approx(5 / 6)
    met = {name for name, criterion in found.items() if criterion.met}
    assert met == set(expected) - {"sceptical p-value, nominal", "equivalence to no effect"} | {
        "relative effect, golden"
    }


def test_each_criterion_turns_where_its_value_crosses_its_threshold():
    small_is_good = {
        "original in replication interval", "prediction interval", "empirical-Bayes prediction interval",
        "sceptical p-value, golden", "sceptical p-value, nominal", "sceptical p-value, controlled",
        "replication Bayes factor", "harmonic mean chi-square", "Edgington's sum of p-values", "equivalence to no effect",
    }  # fmt: skip
    large_is_good = {
        "significance and direction", "Q test", "small telescopes", "relative effect, golden", "pooled estimate"
    }  # fmt: skip
    panels = [judged(6.0, 2.0, theta_r, 1.1) for theta_r in np.linspace(-6, 14, 41)]
    for name in small_is_good | large_is_good:
        seen = set()
        for criterion in (found[name] for found in panels):
            if criterion.value is not None:
                seen.add(criterion.met)
                assert criterion.met is ((criterion.value <= criterion.threshold) == (name in small_is_good)), name
        assert seen == {True, False}, name


def test_equivalence_is_impossible_for_an_imprecise_replication():
    edge = 3 / 1.6448536269514722
    assert judged(6.0, 2.0, 0.0, edge * 1.0001)["equivalence to no effect"].met is None
    assert judged(6.0, 2.0, 0.0, edge * 0.9999)["equivalence to no effect"].met is True
    assert "half-width" in judged(6.0, 2.0, 0.0, 4.0)["equivalence to no effect"].reason


@pytest.mark.parametrize(
    ("name", "edge"),
    [
        ("sceptical p-value, golden", 1.540829),
        ("sceptical p-value, nominal", 1.959964),
        ("relative effect, golden", 1.540829),
        ("predictive power, golden", 1.540829),
        ("small telescopes", 1.519357),
        ("harmonic mean chi-square", stats.norm.isf(2 * 0.025**2) / 2),
        ("Edgington's sum of p-values", stats.norm.isf(0.025 * 2**0.5)),
        ("sceptical Bayes factor", (-lambertw(-np.exp(-1) / 9, -1).real) ** 0.5),  # z exp(-(z^2 - 1)/2) = 1/3
    ],
)
def test_a_criterion_is_undecided_exactly_where_no_replication_could_meet_it(name, edge):
    # a perfect and huge replication still does not help below the edge, and does above
    below, above = (judged(2 * (edge + step), 2.0, 2 * edge, 0.02)[name] for step in (-1e-3, 1e-3))
    assert below.met is None
    assert above.met is not None


def test_heterogeneity_between_settings_widens_predictions_only():
    without, with_tau = judged(6.0, 1.0, 2.0, 1.0), judged(6.0, 1.0, 2.0, 1.0, tau=2.0)
    changed = {name for name in NAMES if without[name] != with_tau[name]}
    assert changed == {"prediction interval", "empirical-Bayes prediction interval", "Q test"}
    assert without["Q test"].met is False and with_tau["Q test"].met is True
    assert with_tau["prediction interval"].threshold == pytest.approx(1.959964 * 10**0.5, rel=1e-6)


def test_design_analysis_assumes_half_the_original_estimate_by_default():
    found = judged(6.0, 6 / 0.8753 / 1.0, 5.0, 2.0)  # the first published row, one run: z = .8753
    assert found["type S error"].value == pytest.approx(0.1142, rel=1e-3)
    assert found["exaggeration (type M)"].value == pytest.approx(5.446, rel=1e-3)
    assert judged(6.0, 3.28, 5.0, 2.0, plausible=0.1)["type S error"].value == pytest.approx(0.464422843, rel=1e-6)
    assert judged(6.0, 3.28, 5.0, 2.0, plausible=0.0)["exaggeration (type M)"].value is None


def test_settings_reach_their_criteria():
    base = judged(6.0, 2.0, 5.0, 2.0)
    assert base["evidence updating"].met is None and "`prior_sd`" in base["evidence updating"].reason
    assert judged(6.0, 2.0, 5.0, 2.0, alpha=0.05)["sceptical p-value, nominal"].met is True
    assert judged(6.0, 2.0, 5.0, 2.0, bf_threshold=0.05)["sceptical Bayes factor"].met is None
    assert judged(6.0, 2.0, 5.0, 2.0, power=0.81)["predictive power, golden"].met is False
    assert (
        judged(6.0, 2.0, 5.0, 2.0, level=0.9)["prediction interval"].threshold < base["prediction interval"].threshold
    )
    assert judged(6.0, 2.0, 1.0, 2.0, alpha_small=0.4)["small telescopes"].met is False
    assert judged(6.0, 2.0, 1.0, 2.0)["small telescopes"].met is True


def test_an_original_of_zero_has_no_direction_to_replicate():
    found = judged(0.0, 1.0, 2.0, 1.0)
    assert found["relative effect, golden"].value is None
    assert found["significance and direction"].met is False
    assert found["sceptical p-value, golden"].value == 0.5 and found["sceptical p-value, golden"].met is None


def test_bad_input_is_refused():
    for studies in ((np.nan, 1, 1, 1), (1, 0, 1, 1), (1, 1, 1, -1)):
        with pytest.raises(AnalysisError):
            panel(*studies, sesoi=1.0)
    with pytest.raises(AnalysisError, match="as scalars"):
        panel([1.0, 2.0], 1.0, 1.0, 1.0, sesoi=1.0)
    for settings, name in (
        ({"sesoi": 0.0}, "sesoi"), ({"prior_sd": -1.0}, "prior_sd"), ({"bf_threshold": 0.0}, "bf_threshold"),
        ({"alpha": 0.5}, "alpha"), ({"alpha_small": 0.0}, "alpha_small"), ({"level": 1.0}, "level"), ({"tau": -1.0}, "tau"),
        ({"power": 0.0}, "power"),
    ):  # fmt: skip
        with pytest.raises(AnalysisError, match=f"`{name}`"):
            panel(1.0, 1.0, 1.0, 1.0, **{"sesoi": 1.0, **settings})
