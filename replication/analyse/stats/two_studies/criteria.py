"""All replication criteria of the literature applied to one original and its replication.

`met` is None where the outcome is fixed by the design before the replication is run: an original too weak for the
criterion is uninformative, its replication has not failed.
"""

import math
from typing import Literal, NamedTuple

import numpy as np

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import chi2_sf, normal_isf, normal_sf
from replication.analyse.stats.two_studies import bayes_factors, classical, sceptical, telescopes
from replication.analyse.stats.two_studies.design_analysis import design_analysis
from replication.analyse.stats.two_studies.equivalence import tost_p
from replication.errors import AnalysisError

Favours = Literal["original", "no effect", "nothing"]


class Criterion(NamedTuple):
    """One criterion applied to one replication."""

    name: str
    value: float | None
    """The statistic; None where it is not defined."""
    threshold: float | None
    """Value that `value` is compared with; None for descriptions."""
    met: bool | None
    """None: the outcome is fixed by the design, or the criterion only describes."""
    reason: str
    source: str
    favours: Favours = "original"
    """The hypothesis that it supports when met; the equivalence test supports no effect."""


class _Study(NamedTuple):
    """Both studies, with signs reversed where the original is negative, and the settings of `panel`."""

    theta_o: float
    s_o: float
    theta_r: float
    s_r: float
    sesoi: float
    tau: float
    level: float
    alpha: float
    alpha_small: float
    bf: float
    power: float
    prior_sd: float | None
    plausible: float

    @property
    def z_o(self) -> float:
        return self.theta_o / self.s_o

    @property
    def z_r(self) -> float:
        return self.theta_r / self.s_r

    @property
    def c(self) -> float:
        return self.s_o**2 / self.s_r**2


def panel(
    theta_o: float,
    s_o: float,
    theta_r: float,
    s_r: float,
    *,
    sesoi: float,
    tau: float = 0.0,
    level: float = 0.95,
    alpha: float = 0.025,
    alpha_small: float = 0.05,
    bf_threshold: float = 1 / 3,
    power: float = 0.8,
    prior_sd: float | None = None,
    plausible: float | None = None,
) -> list[Criterion]:
    """Apply all replication criteria to two estimates with their standard errors; normal reference, one unit throughout.

    theta_o, s_o, theta_r, s_r : estimate and standard error of original and replication; scalars.
    sesoi : smallest effect of interest, above 0.
    tau : SD of the effect between settings; enters the prediction intervals and Q only.
    level : confidence level of two-sided intervals; the Q test has level 1 - level.
    alpha : one-sided level of success; combined p-values are compared with alpha^2, as if both studies had to pass.
    alpha_small : one-sided level of small telescopes and of equivalence.
    bf_threshold : a Bayes factor of no effect of at most this supports the original.
    power : predictive power required of a design.
    prior_sd : SD of the effect before the original, mean 0; without it evidence updating is left out (met None).
    plausible : true effect assumed by the design analysis of the original; None means half the original estimate.

    Not covered: equality of variances over seeds (needs scores), relation to more than one original.
    """
    if any(np.ndim(x) for x in (theta_o, s_o, theta_r, s_r)):
        raise AnalysisError(
            "the panel takes one original and one replication, as scalars; got arrays. Call it per row."
        )
    classical.checked_studies(theta_o, s_o, theta_r, s_r, tau=tau)
    checks.positive(sesoi=sesoi, bf_threshold=bf_threshold, **({} if prior_sd is None else {"prior_sd": prior_sd}))
    checks.one_sided_level(alpha=alpha, alpha_small=alpha_small)
    checks.probability(level=level, power=power)
    sign = -1.0 if theta_o < 0 else 1.0
    study = _Study(
        sign * float(theta_o), float(s_o), sign * float(theta_r), float(s_r), sesoi, tau, level, alpha, alpha_small,
        bf_threshold, power, prior_sd, abs(theta_o) / 2 if plausible is None else abs(plausible),
    )  # fmt: skip
    return _criteria(study)


def _criteria(study: _Study) -> list[Criterion]:
    return [
        _significance(study),
        _original_in_interval(study),
        *_predictions(study),
        _q(study),
        _small_telescopes(study),
        *(_sceptical_p(study, kind) for kind in ("golden", "nominal", "controlled")),
        _relative_effect(study),
        _predictive_power(study),
        _replication_bf(study),
        _sceptical_bf(study),
        _harmonic_mean(study),
        _edgington(study),
        _pooled(study),
        _evidence_updating(study),
        _equivalence(study),
        *_design(study),
    ]


def _significance(s: _Study) -> Criterion:
    needed = float(normal_isf(s.alpha))
    met = bool(classical.significant_same_direction(s.theta_o, s.theta_r, s.s_r, level=s.alpha))
    reason = "ignores the size of the effect"
    if s.z_o <= needed:
        reason = f"the original is not significant itself, z_o = {s.z_o:.3f}"
    return Criterion("significance and direction", s.z_r, needed, met, reason, "two-trials rule; Held 2020, section 1")


def _original_in_interval(s: _Study) -> Criterion:
    met = bool(classical.original_in_replication_interval(s.theta_o, s.theta_r, s.s_r, level=s.level))
    half = float(normal_isf((1 - s.level) / 2)) * s.s_r
    # Probability under one common effect: the difference has variance s_o^2 + s_r^2, the interval is based on s_r^2 only.
    expected = 1 - 2 * normal_sf(half / math.hypot(s.s_o, s.s_r))
    reason = f"ignores the error of the original: {expected:.0%} pass if both share one effect"
    distance = abs(s.theta_o - s.theta_r)
    return Criterion("original in replication interval", distance, half, met, reason, "Open Science Collaboration 2015")


def _predictions(s: _Study) -> list[Criterion]:
    plain = classical.prediction_interval(s.theta_o, s.s_o, s.s_r, level=s.level, tau=s.tau)
    shrunken = classical.shrunken_prediction_interval(s.theta_o, s.s_o, s.s_r, level=s.level, tau=s.tau)
    criteria = []
    for name, interval, source in (
        ("prediction interval", plain, "Patil, Peng & Leek 2016"),
        ("empirical-Bayes prediction interval", shrunken, "Pawel & Held 2020"),
    ):
        distance, half = abs(s.theta_r - float(interval.centre)), float(interval.high - interval.centre)
        text = f"expected {float(interval.low):.4g} to {float(interval.high):.4g}"
        if interval.low <= 0:
            text += "; no effect at all would pass too"
        criteria.append(Criterion(name, distance, half, distance <= half, text, source))
    return criteria


def _q(s: _Study) -> Criterion:
    p = float(classical.q_test(s.theta_o, s.s_o, s.theta_r, s.s_r, tau=s.tau).p)
    reason = "consistent with one effect is not evidence for one"
    return Criterion("Q test", p, 1 - s.level, p >= 1 - s.level, reason, "Hedges & Schauer 2019")


def _small_telescopes(s: _Study) -> Criterion:
    test = telescopes.small_telescopes(s.theta_o, s.s_o, s.theta_r, s.s_r, alpha_one_sided=s.alpha_small)
    met: bool | None = not test.refutes
    reason = "not refuted: effects that the original could have seen remain possible"
    if test.refutes:
        reason = "refuted: the replication rules out every effect that the original could have seen"
    if not test.informative:
        met = None
        reason = (
            f"theta_33 = {float(test.theta_33):.4g} exceeds the original estimate {s.theta_o:.4g}: the original could not "
            f"have seen its own estimate, so no replication fails against it"
        )
    return Criterion("small telescopes", float(test.upper), float(test.theta_33), met, reason, "Simonsohn 2015")


def _sceptical_p(s: _Study, kind: sceptical.Kind) -> Criterion:
    p = float(sceptical.sceptical_p(s.z_o, s.z_r, s.c, kind=kind))
    needed = float(sceptical.threshold_z(s.alpha, kind=kind, c=s.c))
    met: bool | None = p <= s.alpha
    reason = f"possible, since z_o = {s.z_o:.3f} > {needed:.3f}"
    if s.z_o <= needed:
        size = "this size" if kind == "controlled" else "any size"
        met, reason = None, f"z_o = {s.z_o:.3f} <= {needed:.3f}: success is impossible for a replication of {size}"
    source = {
        "nominal": "Held 2020",
        "golden": "Held, Micheloud & Pawel 2022",
        "controlled": "Micheloud, Balabdaoui & Held 2023",
    }
    return Criterion(f"sceptical p-value, {kind}", p, s.alpha, met, reason, source[kind])


def _relative_effect(s: _Study) -> Criterion:
    """Express the golden sceptical p-value on the scale of the effect; the decision is the same."""
    name, source = "relative effect, golden", "Held, Micheloud & Pawel 2022"
    needed = float(sceptical.minimum_relative_effect(s.z_o, s.c, level=s.alpha))
    ratio = s.theta_r / s.theta_o if s.theta_o > 0 else None
    if math.isnan(needed) or ratio is None:
        return Criterion(name, ratio, None, None, f"no relative effect suffices, z_o = {s.z_o:.3f}", source)
    return Criterion(name, ratio, needed, ratio >= needed, "same decision as the golden sceptical p-value", source)


def _predictive_power(s: _Study) -> Criterion:
    name, source = "predictive power, golden", "Micheloud & Held 2022"
    power = float(sceptical.success_power(s.z_o, s.c, level=s.alpha))
    size = sceptical.relative_sample_size(s.z_o, power=s.power, level=s.alpha)
    if size.max_power == 0:
        return Criterion(name, 0.0, s.power, None, "success is impossible at any size", source, "nothing")
    reason = f"at most {size.max_power:.3f} at any size"
    if size.c is not None:
        reason = f"needs {size.c:.4g} times the precision of the original; got {s.c:.4g}"
    return Criterion(name, power, s.power, power >= s.power, reason, source, "nothing")


def _replication_bf(s: _Study) -> Criterion:
    bf = float(bayes_factors.replication_bf(s.z_o, s.z_r, s.c))
    return Criterion(
        "replication Bayes factor", bf, s.bf, bf <= s.bf, _strength(bf, s.bf), "Verhagen & Wagenmakers 2014"
    )


def _sceptical_bf(s: _Study) -> Criterion:
    name, source = "sceptical Bayes factor", "Pawel & Held 2022"
    bf = float(bayes_factors.sceptical_bf(s.z_o, s.z_r, s.c))
    value, least = (None if math.isnan(bf) else bf), float(bayes_factors.minimum_bf(s.z_o))
    if least > s.bf:
        reason = f"the original allows {least:.3f} at best: success at {s.bf:.3f} is impossible for any replication"
        return Criterion(name, value, s.bf, None, reason, source)
    if value is None:
        return Criterion(
            name, None, s.bf, None, "not defined: the replication convinces no sceptic at any level", source
        )
    return Criterion(name, bf, s.bf, bf <= s.bf, _strength(bf, s.bf), source)


def _harmonic_mean(s: _Study) -> Criterion:
    name, source = "harmonic mean chi-square", "Held 2020, JRSS C"
    p, most = float(classical.harmonic_mean_test([s.z_o, s.z_r]).p), s.alpha**2
    # z_H^2 < 4 z_o^2 however large z_r is.
    if chi2_sf(4 * s.z_o**2, 1) / 4 >= most:
        reason = f"z_o = {s.z_o:.3f} is too small: p > {most:.3g} for any replication"
        return Criterion(name, None if math.isnan(p) else p, most, None, reason, source)
    if math.isnan(p):
        return Criterion(
            name, None, most, False, "the estimates have opposite signs: p is not defined and large", source
        )
    return Criterion(name, p, most, p <= most, "symmetric in original and replication", source)


def _edgington(s: _Study) -> Criterion:
    p_o, most = float(normal_sf(s.z_o)), s.alpha**2
    p = float(classical.edgington(p_o, float(normal_sf(s.z_r))))
    met: bool | None = p <= most
    reason = "one-sided in the direction of the original"
    if float(classical.edgington(p_o, 0.0)) >= most:
        met, reason = None, f"p_o = {p_o:.4f} is too large: p > {most:.3g} for any replication"
    return Criterion(
        "Edgington's sum of p-values", p, most, met, reason, "Edgington 1972; Held, Pawel & Micheloud 2024"
    )


def _pooled(s: _Study) -> Criterion:
    z, needed = float(classical.pooled(s.theta_o, s.s_o, s.theta_r, s.s_r).z), float(normal_isf(s.alpha))
    reason = "contaminated by selection of the original"
    return Criterion("pooled estimate", z, needed, z > needed, reason, "fixed effect; Camerer et al. 2016")


def _evidence_updating(s: _Study) -> Criterion:
    name, source = "evidence updating", "Ly et al. 2019"
    if s.prior_sd is None:
        return Criterion(name, None, s.bf, None, "`prior_sd` is not given: the original has no Bayes factor", source)
    factors = bayes_factors.evidence_update(s.z_o, s.z_r, s.c, g=(s.prior_sd / s.s_o) ** 2)
    joint = float(factors.joint)
    reason = f"joint = original {float(factors.original):.4g} x replication given it {float(factors.replication):.4g}"
    return Criterion(name, joint, s.bf, joint <= s.bf, reason, source)


def _equivalence(s: _Study) -> Criterion:
    name, source = "equivalence to no effect", "Lakens, Scheel & Isager 2018"
    p = tost_p(s.theta_r, s.s_r, None, s.sesoi)
    half = float(normal_isf(s.alpha_small)) * s.s_r
    met: bool | None = p <= s.alpha_small
    reason = f"{1 - 2 * s.alpha_small:.0%} interval against ±{s.sesoi:.4g}"
    if half >= s.sesoi:
        met, reason = None, f"impossible: the interval's half-width {half:.4g} is not below the margin {s.sesoi:.4g}"
    return Criterion(name, p, s.alpha_small, met, reason, source, "no effect")


def _design(s: _Study) -> list[Criterion]:
    design = design_analysis(s.plausible, s.s_o, alpha=2 * s.alpha)
    reason = f"describes a significant original if the truth is {s.plausible:.4g} (power {float(design.power):.3f})"
    exaggeration = float(design.exaggeration) if math.isfinite(design.exaggeration) else None
    return [
        Criterion(name, value, None, None, reason, "Gelman & Carlin 2014", "nothing")
        for name, value in (("type S error", float(design.type_s)), ("exaggeration (type M)", exaggeration))
    ]


def _strength(bf: float, threshold: float) -> str:
    if bf <= threshold:
        return "supports the original"
    return "supports no effect" if bf >= 1 / threshold else "between: weak evidence either way"
