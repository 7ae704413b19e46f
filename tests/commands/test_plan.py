"""The printed plan names every benchmark and assumption; assumptions out of range are errors."""

import subprocess
import sys

import pytest
from plan_studies import SEVEN, composed

from replication import settings
from replication.commands.plan import planned
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
