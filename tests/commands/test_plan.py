"""The printed plan names every benchmark and assumption; assumptions out of range are errors."""

import subprocess
import sys

import pytest
from plan_studies import SEVEN, composed

from replication import settings
from replication.commands.plan import planned, printed
from replication.errors import ConfigError
from replication.publish.plan import report


@pytest.mark.parametrize("study", ["controlled", "controlled_tiny", "controlled_full"])
def test_report_names_every_benchmark_and_the_origin_of_every_assumption(tmp_path, study):
    cfg = composed(tmp_path, f"study={study}")
    found = planned(cfg)
    text = report(cfg, found)
    assert text.startswith(f"plan of study {study}")
    assert all(text.count(f"\n  {name} ") == 2 for name in SEVEN)
    assert text.count("  [") == len(found.assumptions)
    assert "nan" not in text and "inf " not in text


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("plan.icc=1.5", "`plan.icc`"),
        ("plan.tau=-0.1", "`plan.tau`"),
        ("plan.tokens_per_s=0", "`plan.tokens_per_s`"),
        ("plan.budget=0", "`plan.budget`"),
        ("plan.treatment=nobody", "`plan.treatment` is 'nobody'"),
        ("plan.treatment=agent_sft", "name two arms"),
        ("plan.max_runs=1", "`plan.max_runs`"),
    ],
)
def test_assumptions_out_of_range_are_named(tmp_path, override, match):
    with pytest.raises(ConfigError, match=match):
        planned(composed(tmp_path, "study=controlled", override))


def test_reanalysis_has_nothing_to_plan(tmp_path):
    with pytest.raises(ConfigError, match="nothing to plan"):
        planned(composed(tmp_path, "study=reanalysis"))


@pytest.mark.slow
def test_reanalysis_ends_with_one_line_and_exit_code_2():
    done = subprocess.run(
        [sys.executable, "-m", "replication", "plan", "study=reanalysis"], capture_output=True, text=True,
        cwd=settings.CONF.parent,
    )  # fmt: skip
    assert done.returncode == 2 and "nothing to plan" in done.stderr and not done.stdout


def test_plan_says_which_outcomes_are_out_of_reach(tmp_path):
    # Nothing is frozen here, so the precision is that of conf/plan.
    cfg = composed(tmp_path, "study=controlled")
    found = {reach.claim_id: reach for reach in planned(cfg).reach}
    assert found["A3"].reason == "out of reach at this size" and found["A3"].published < 0.05
    assert found["C"].reason == "cannot be tested: 1 scaffold, the claim needs 2"
    assert found["D"].reason == "cannot be tested: 2 scales, the claim needs 3"
    assert found["B"].published is None
    assert found["A1"].half < found["A1"].published
    larger = {r.claim_id: r for r in planned(composed(tmp_path, "study=controlled", "plan.tau=0.001")).reach}
    assert larger["A1"].published > found["A1"].published
    assert "cannot be tested: 1 scaffold" in report(cfg, planned(cfg))


def test_reach_of_the_mean_is_the_power_of_its_t_test(tmp_path):
    from scipy import stats

    found = planned(composed(tmp_path, "study=controlled"))
    mean = found.precision["mean of these"]
    # the same standard error and df as in the table of precision: half-width = t se
    a1 = next(reach for reach in found.reach if reach.claim_id == "A1")
    effect, df = 0.0823286, df_of(mean, 0.8)
    se = mean.half_width_t3 / stats.t.ppf(0.975, df)
    expected = stats.nct.sf(stats.t.ppf(0.975, df), df, effect / se)
    assert a1.published == pytest.approx(expected, abs=0.025)


def df_of(precision, power):
    """Solve half-width and minimal detectable effect of one precision for the degrees of freedom."""
    from scipy import optimize, stats

    ratio = precision.mde_t3 / precision.half_width_t3

    def excess(df):
        t = stats.t.ppf(0.975, df)
        mde = optimize.brentq(lambda d: stats.nct.sf(t, df, d) - power, 0.1, 12)
        return mde / t - ratio

    return optimize.brentq(excess, 3, 500)


OFFICIAL = ["study=released_small", "+ingest@ingest.bfcl=bfcl", "+benchmark@benchmarks.terminal_bench=terminal_bench"]


def section(text) -> list[str]:
    (found,) = [part for part in text.split("\n\n") if part.startswith("official benchmarks")]
    return found.splitlines()


def test_official_benchmarks_are_counted_and_what_is_not_known_is_said(tmp_path):
    lines = section(printed(composed(tmp_path, *OFFICIAL)))
    assert lines[2].split() == ["bfcl", "bfcl_v4", "4,751", "2", "1", "9,502", *["unknown"] * 3]
    assert lines[3].startswith("  bfcl: no time limit, and no run of all items")
    assert lines[4] == "  listed without an entry of `ingest`, so not played: terminal_bench"


def test_hours_of_an_official_benchmark_are_those_of_all_attempts_and_of_no_part_of_its_items(tmp_path):
    entry = ["study=released_small", "+ingest@ingest.tb=terminal_bench", "ingest.tb.folder=f"]
    hours = {n: section(printed(composed(tmp_path, *entry, f"ingest.tb.n_tasks={n}")))[2].split()[6] for n in (89, 10)}
    assert hours == {89: "334", 10: "unknown"}  # 33.4 hours x 5 attempts x 2 checkpoints


def test_official_benchmarks_are_not_counted_as_if_scaffolds_played_them(tmp_path):
    alone, both = (planned(composed(tmp_path, *overrides)) for overrides in (OFFICIAL[:1], OFFICIAL))
    assert alone.volumes == both.volumes and alone.joint_t2 == both.joint_t2 and alone.allocation == both.allocation
    without = printed(composed(tmp_path, *OFFICIAL[:2], "~benchmarks"))
    assert without.startswith("plan of study released_small") and "what it takes" not in without
    assert section(without)[2].split()[:2] == ["bfcl", "bfcl_v4"]
