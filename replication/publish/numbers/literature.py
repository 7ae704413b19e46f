"""Numbers of the section on the literature: means per design, checks, and table 9 against its class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from replication.analyse.stats.families.multilevel import RELIABLE_DF
from replication.analyse.synthesis import CLASSES, NAMES, OTHER, TABLE9_CLASS, Synthesis
from replication.records import Json
from replication.text import DASH, bounds, fixed, interval, p_value, percent, plain, signed

if TYPE_CHECKING:
    import pandas as pd


def literature(s: Synthesis | None) -> dict[str, Json] | None:
    """Return every number of the section; None where no claim is about the literature."""
    if s is None:
        return None
    a = s.assumptions
    own, ablations = s.table9.iloc[0], s.table9.iloc[-1]
    return {
        "n_effects": len(s.effects), "n_papers": int(s.effects["paper"].nunique()),
        "n_controls": int(s.effects["cluster"].nunique()), "n_inferred": int((s.effects["certainty"] == "inferred").sum()),
        "n_placebo": int((s.effects["placebo_control"] == "yes").sum()),
        "run_sd": percent(a.run_sd), "unstated_tasks": a.unstated_tasks,
        "n_unstated_tasks": int(s.effects["n_tasks"].isna().sum()), "reliable_df": plain(RELIABLE_DF),
        "classes": _means(s, [*CLASSES, OTHER]), "domains": _means(s, ["in", "near", "held_out"]),
        "moderators": [
            {"moderator": row.moderator, "n": row.n_effects, "papers": row.n_papers,
             "value": interval(row.value, row.low, row.high), "df": fixed(row.df), "p": p_value(row.p_two_sided)}
            for row in s.moderators.itertuples()
        ],
        "checks": {
            row.set: {
                "name": NAMES[row.set], "n": row.n_effects, "slope": fixed(row.slope), "df": fixed(row.slope_df),
                "slope_bounds": f"[{fixed(row.slope_low)}, {fixed(row.slope_high)}]", "p": p_value(row.slope_p),
                "n_significant": row.n_significant, "expected_significant": fixed(row.expected_significant),
                "n_positive": row.n_positive, "expected_positive": fixed(row.expected_positive),
                "p_positive": p_value(row.p_positive),
            }
            for row in s.checks.itertuples()
        },
        "choices": {name: _choices(s.choices[s.choices["set"] == name]) for name in dict.fromkeys(s.choices["set"])},
        "left_out": {name: _left_out(s.leave_one_out, name) for name in dict.fromkeys(s.leave_one_out["set"])},
        "table9": {
            "observed": signed(own["observed"]), "class": NAMES[TABLE9_CLASS], **_expected(own, ""),
            **_expected(ablations, "ablations_"),
            "above": int((s.papers.loc[s.papers["set"] == TABLE9_CLASS, "value"] < own["observed"]).sum()),
        },
        "tests": {
            "n": len(s.tests), "n_studies": int(s.tests["test"].nunique()),
            "n_replicating": int((s.tests["replicates_table9"] == "yes").sum()),
            "n_agent": int((s.tests["role"] == "agent").sum()),
            "n_agent_above": int(_above(s.tests[s.tests["role"] == "agent"])),
        },
    }  # fmt: skip


def _means(s: Synthesis, sets: list[str]) -> list[dict[str, Json]]:
    means = s.means.set_index("set")
    return [_mean(name, means.loc[name]) for name in sets if name in means.index]


def _mean(name: str, row: pd.Series) -> dict[str, Json]:
    counts = {
        "set": name, "name": NAMES[name], "n": int(row["n_effects"]), "papers": int(row["n_papers"]),
        "positive": int(row["n_positive"]), "inferred": int(row["n_inferred"]),
    }  # fmt: skip
    if row["reason"]:
        return {**counts, **dict.fromkeys(("mean", "df", "model", "prediction", "between", "within"), DASH)}
    return {
        **counts, "mean": interval(row["mean"], row["low"], row["high"]), "df": fixed(row["df"]),
        "model": bounds(row["model_low"], row["model_high"]),
        "prediction": bounds(row["prediction_low"], row["prediction_high"]),
        "between": percent(row["between_sd"]), "within": percent(row["within_sd"]),
    }  # fmt: skip


def _choices(table: pd.DataFrame) -> dict[str, Json]:
    fitted = table[table["reason"] == ""]
    return {
        "n": len(fitted) - 1, "smallest": signed(fitted["mean"].min()), "largest": signed(fitted["mean"].max()),
        "n_above": int((fitted["low"].iloc[1:] > 0).sum()), "n_below": int((fitted["high"].iloc[1:] < 0).sum()),
    }  # fmt: skip


def _left_out(table: pd.DataFrame, name: str) -> dict[str, Json]:
    part = table[(table["set"] == name) & table["label"].str.startswith("without ")]
    read = table[(table["set"] == name) & (table["label"] == "read rows only")].iloc[0]
    return {
        "smallest": signed(part["mean"].min()), "largest": signed(part["mean"].max()), "read_n": int(read["n_effects"]),
        "read": DASH if math.isnan(read["mean"]) else interval(read["mean"], read["low"], read["high"]),
    }  # fmt: skip


def _expected(row: pd.Series, prefix: str) -> dict[str, Json]:
    return {
        f"{prefix}expected": signed(row["expected"]), f"{prefix}range": bounds(row["low"], row["high"]),
        f"{prefix}p": p_value(row["p_two_sided"]), f"{prefix}df": fixed(row["df"]), f"{prefix}papers": int(row["n_papers"]),
    }  # fmt: skip


def _above(tests: pd.DataFrame) -> int:
    scores = tests[tests["metric"] != "invalid runs"]
    return int((scores["value"].astype(float) > scores["comparator_value"].astype(float)).sum())
