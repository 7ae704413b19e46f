"""Numbers of the section on the published scores: power and digits of each row, pairs of models, drift."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from replication.analyse.reanalysis import LEADERBOARDS, NEWER, Reanalysis
from replication.analyse.stats.two_studies.sceptical import threshold_z
from replication.records import Json
from replication.text import bounds, correlation, fixed, interval, p_value, percent, signed, size, whole

if TYPE_CHECKING:
    import pandas as pd

    from replication.analyse.analysis_settings import AnalysisSettings
    from replication.analyse.stats.printed.composite import Composite


def reanalysis(r: Reanalysis, settings: AnalysisSettings) -> dict[str, Json]:
    """Return every number of the section on the published numbers."""
    a = r.audit
    return {
        "rows": [_row(r, settings, i) for i in range(len(a.rows))],
        "golden_z": fixed(float(threshold_z(0.025)), 2),
        "digits": _digits(r),
        "scenarios": [
            {
                "name": row.scenario, "n_raw": row.n_raw, "n_holm": row.n_holm, "iut_p": p_value(row.iut_p),
                "repeat_positive": correlation(row.repeat_all_positive),
                "repeat_significant": correlation(row.repeat_all_significant),
            }
            for row in a.scenarios.itertuples()
        ],
        "tipping": [
            {"tau": fixed(100 * row.tau, 2), "n_raw": row.n_raw, "n_holm": row.n_holm, "iut_p": p_value(row.iut_p)}
            for row in a.tipping_curve.itertuples()
        ],
        "composite": _composite(r.composite),
        "pairs": {name: _pairs(r, name) for name in LEADERBOARDS},
        "trend": {
            "slope": interval(r.trend.slope, r.trend.low, r.trend.high), "p": p_value(r.trend.p_two_sided),
            "largest": size(float(r.band["params_b"].iloc[-1])),
            "at_largest": interval(*(float(r.band[c].iloc[-1]) for c in ("value", "low_all", "high_all"))),
        },
        "newer": _newer(r),
        "public": _public(r.public),
        "attempts": {
            "n": int(r.attempts["attempt"].nunique()),
            "n_replicating": int((r.attempts["replicates_table9"] == "yes").sum()),
        },
        "drift": [
            {"id": row.id, "claim": row.claim, "paper": row.paper, "press": row.press, "drift": row.drift,
             "needed": row.needed or "nothing", "exists": row.exists}
            for row in r.drift.itertuples()
        ],
        "unspecified": _unspecified(r),
    }  # fmt: skip


def _row(r: Reanalysis, settings: AnalysisSettings, i: int) -> dict[str, Json]:
    a = r.audit
    name = a.rows["name"].iloc[i]
    one, repeat = a.one_run.iloc[i], a.replication.iloc[i]
    tipping = a.tipping.iloc[i]["stated runs"]
    needed = a.required[(a.required["name"] == name) & (a.required["fraction"] == 1) & (a.required["power"] == 0.8)]
    needed = needed[needed["rho"] == settings.rho].iloc[0]
    turning = a.turning[(a.turning["name"] == name) & (a.turning["icc"] == settings.icc)]["rho"].iloc[0]
    goal = "power never reached"
    if repeat["possible"] and not math.isnan(repeat["c_for_goal"]):
        goal = f"at {fixed(repeat['c_for_goal'], 2)} times the original's precision"
    elif not repeat["possible"]:
        goal = "impossible at any size"
    return {
        "name": name, "delta": signed(one["delta"]), "p_one_run": p_value(one["p_two_sided"]),
        "newcombe": bounds(one["newcombe_low"], one["newcombe_high"]), "mde": percent(one["mde80"]),
        "power": correlation(one["power"]), "exaggeration": fixed(one["exaggeration"], 1),
        "type_s": percent(one["type_s"], 0),
        "floor": percent(needed["mde_floor"]), "n_at_stated": int(needed["n_at_k1"]), "n_at_k5": int(needed["n_at_k5"]),
        "tipping": fixed(100 * tipping, 1), "turning_rho": correlation(turning) if turning else "0",
        "z_o": fixed(repeat["z"], 2), "shrunk": signed(repeat["shrunk"]), "theta_33": percent(repeat["theta_33"]),
        "repeat": bounds(repeat["repeat_low"], repeat["repeat_high"]), "size_for_success": goal,
    }  # fmt: skip


def _digits(r: Reanalysis) -> dict[str, Json]:
    binary = r.audit.digits[(r.audit.digits["score_type"] == "binary")]
    stated = binary[binary["stated"]]
    fewer = binary[(binary["k"] == 1)]
    return {
        "n": len(stated),
        "n_half_up": int(stated["half_up"].map(bool).sum()),
        "n_any": int((stated["half_up"].map(bool) | stated["truncated"].map(bool)).sum()),
        "n_single_run": int((fewer["half_up"].map(bool) | fewer["truncated"].map(bool)).sum()),
        "rows": [
            {
                "name": row.name, "arm": row.arm, "printed": row.printed, "k": row.k, "total": row.n_tasks * row.k,
                "rounded": ", ".join(map(str, row.half_up)) or "none",
                "truncated": ", ".join(map(str, row.truncated)) or "none",
                "chance": correlation(row.p0),
            }
            for row in stated.itertuples(index=False)
        ],
    }  # fmt: skip


def _composite(c: Composite) -> dict[str, Json]:
    return {
        "fits": c.printed_fit, "se_items": percent(c.se_items, 2), "se_clusters": percent(c.se_clusters, 2),
        "n_eff_items": whole(c.n_eff_items), "n_eff_clusters": whole(c.n_eff_clusters),
        "parts": [
            {"part": row.part, "delta": signed(row.delta), "weight": correlation(row.weight), "n": int(row.n_clusters),
             "p": p_value(row.p_clusters), "share": percent(row.share, 0)}
            for row in c.parts.itertuples()
        ],
    }  # fmt: skip


def _pairs(r: Reanalysis, name: str) -> dict[str, Json]:
    table, choices = r.gaps[name], r.sensitivity[name]
    overall = choices.iloc[0]
    means = choices.dropna(subset="mean")
    return {
        "n": len(table), "n_families": int(overall["n_families"]), "n_above": int(overall["n_above"]),
        "mean": interval(overall["mean"], overall["low"], overall["high"]),
        "prediction": bounds(overall["prediction_low"], overall["prediction_high"]),
        "smallest": signed(means["mean"].min()), "largest": signed(means["mean"].max()), "n_choices": len(means) - 1,
        "n_choices_above": int((means["low"].iloc[1:] > 0).sum()),
        "n_read_bases": int((table["base_identity"] == "read").sum()),
        "choices": [
            {"choice": row.choice, "n": row.n_pairs,
             "mean": interval(row.mean, row.low, row.high) if not math.isnan(row.mean) else row.reason}
            for row in choices.itertuples()
        ],
    }  # fmt: skip


def _newer(r: Reanalysis) -> dict[str, Json]:
    outcome = r.newer["outcome"]
    return {
        "family": NEWER, "n": len(outcome), "n_agent": int((outcome == "agent above").sum()),
        "n_general": int((outcome == "general above").sum()), "n_unresolved": int((outcome == "unresolved").sum()),
    }  # fmt: skip


def _public(public: pd.DataFrame) -> dict[str, Json]:
    both = public.dropna(subset=["sft", "lwm_rl"])
    both = both[both["metric"] != "unknown"]
    benchmarks = both["benchmark"].nunique()
    best = both.groupby("benchmark")[["value", "sft", "lwm_rl"]].max()
    return {
        "model": str(public["model"].iloc[0]), "n": int(benchmarks),
        "n_above_sft": int((best["value"] > best["sft"]).sum()), "n_above_lwm": int((best["value"] > best["lwm_rl"]).sum()),
        "rows": [
            {"benchmark": row.benchmark, "where": row.published_in, "value": percent(row.value), "sft": percent(row.sft, 2),
             "lwm_rl": percent(row.lwm_rl, 2)}
            for row in both.itertuples()
        ],
    }  # fmt: skip


def _unspecified(r: Reanalysis) -> dict[str, Json]:
    table = r.unspecified
    missing = table[table["stated"] != "yes"]
    names = dict(zip(r.audit.rows["benchmark"], r.audit.rows["name"], strict=True))
    return {
        "n": len(missing),
        "rows": [
            {"benchmark": names.get(benchmark, benchmark.replace("_", " ")), "settings": "; ".join(part["setting"])}
            for benchmark, part in missing.groupby("benchmark", sort=False)
        ],
    }  # fmt: skip
