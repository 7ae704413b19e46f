"""The evidence tables load, say what their sources say, and refuse a doubtful row by row and column."""

import subprocess
import sys

import pandas as pd
import pytest

from replication.__main__ import main as command_line
from replication.analyse.evidence import (  # fmt: skip
    FOLDER,
    TABLES,
    load_attempts,
    load_drift,
    load_general,
    load_pairs,
    load_public,
    load_scores,
    load_spreads,
    load_tables,
    load_tests,
    load_tuned_pairs,
    load_unspecified,
    load_world_models,
)
from replication.commands.evidence import WIDTH, main, page
from replication.errors import EvidenceError

DELTAS = {  # official BFCL v3 overall, agent minus general, points
    "xLAM-2-1b-fc-r": 10.39, "xLAM-2-3b-fc-r": 14.44, "Llama-xLAM-2-8b-fc-r": 22.47, "xLAM-2-32b-fc-r": 13.64,
    "Llama-xLAM-2-70b-fc-r": 24.88, "Hammer2.1-0.5b": 9.72, "Hammer2.1-1.5b": 7.10, "Hammer2.1-3b": 9.19,
    "Hammer2.1-7b": 6.44, "ToolACE-2-8B": 19.16, "watt-tool-8B": 18.22, "watt-tool-70B": 20.00,
    "watt-tool-70B (3.3)": 21.33, "CoALM-8B": 4.95, "CoALM-70B": 0.92, "BitAgent-8B": 17.92, "Haha-7B": 1.48,
}  # fmt: skip


def edited(tmp_path, name, edit):
    table = pd.read_csv(FOLDER / TABLES[name][0], dtype=str, keep_default_na=False)
    path = tmp_path / "mine.csv"
    edit(table).to_csv(path, index=False)
    return path


def cell(column, value, row=3):
    def edit(table):
        table.loc[row, column] = value
        return table

    return edit


def test_v3_differences_are_those_of_the_leaderboard():
    rows = load_pairs().query("benchmark == 'bfcl_v3'").set_index("pair")
    found = (100 * (rows["p_agent"] - rows["p_general"])).dropna()
    assert found.round(6).to_dict() == DELTAS


def test_no_instruct_base_of_the_leaderboard_pairs_was_read():
    assert set(load_pairs()["base_identity"]) == {"inferred", "alternative", "unknown"}


def test_pair_scored_twice_is_marked_as_one_update_only_where_both_scores_are_of_it():
    rows = load_pairs().query("pair == 'CoALM-70B' and benchmark == 'bfcl_v4' and metric == 'overall'")
    assert dict(zip(rows["agent_percent"], rows["same_update"], strict=True)) == {"27.99": False, "26.88": True}
    missing = load_pairs().query("general_percent == ''")
    assert len(missing) and not missing["same_update"].any() and missing["p_general"].isna().all()


def test_values_below_one_percent_are_kept_without_their_sign():
    row = load_pairs().query("pair == 'Arch-Agent-3B' and metric == 'web_search'").iloc[0]
    assert (row["agent_percent"], row["p_agent"]) == ("0.50", pytest.approx(0.005))


def test_items_that_the_overall_scores_are_worth_follow_from_weights_and_clusters():
    parts = load_scores().query("benchmark == 'bfcl_v4' and arm == 'sft'").dropna(subset="weight")
    v4 = 1 / (parts["weight"] ** 2 / parts["n_clusters"]).sum()
    non_live = 25 / ((1 / 400 + 1 / 100 + 1 / 50) / 9 + 3 / 200 + 1 / 240)
    v3 = 9 / (1 / non_live + 1 / 2251 + 1 / 200)  # mean of non-live, live and multi-turn
    rows = load_pairs().query("metric == 'overall'").groupby("benchmark")["n_clusters"].first()
    assert rows.to_dict() == {"bfcl_v3": round(v3), "bfcl_v4": round(v4)}


def test_public_scores_repeat_the_arms_of_table_9():
    scores = load_scores().set_index(["arm", "benchmark", "metric"])["value_percent"]
    public = load_public().query("metric not in ['unknown', 'pass_hat_3']")
    for row in public.itertuples():
        assert row.sft_percent == scores["sft", row.benchmark, row.metric]
        assert row.lwm_rl_percent == scores["sft_lwm_rl", row.benchmark, row.metric]
    below = load_public().query("metric != 'pass_hat_3'").groupby("benchmark")[["value", "lwm_rl"]].min()
    assert int((below["lwm_rl"] < below["value"]).sum()) == 4  # of seven


def test_start_of_table_8_is_not_the_start_of_table_9():
    table = load_tables().query("table == 'table8' and arm == 'start' and metric == 'f1_item'")
    assert table["value_percent"].tolist() == ["34.02", "70.11"]
    assert table["runs"].isna().all()


def test_general_models_are_listed_on_both_updates():
    rows = load_general().query("model == 'Qwen/Qwen3-14B' and mode == 'FC' and metric == 'overall'")
    assert dict(zip(rows["date"], rows["value_percent"], strict=True)) == {"2025-08-26": "46.31", "2025-12-16": "41.03"}


def test_no_attempt_repeats_table_9():
    attempts = load_attempts()
    assert len(attempts) == 18 and set(attempts["replicates_table9"]) == {"no"}


def test_literature_holds_the_counts_that_its_reading_found():
    table = load_world_models()
    primary = table[table["pool"] == "primary"]
    assert len(primary) == 75 and primary["paper"].nunique() == 12 and int((primary["value"] > 0).sum()) == 62
    assert 100 * primary["value"].median() == pytest.approx(3.3)
    assert primary["matched_control"].value_counts().to_dict() == {"partly": 41, "yes": 27, "no": 7}
    assert not (primary["placebo_control"] == "yes").any()
    only_difference = table[table["treatment_percent"] == ""]
    assert (100 * only_difference["value"]).round(6).tolist() == [3.8, 10.0, 5.2, -3.9]


def test_spreads_and_pairs_of_other_papers_are_fractions():
    assert load_spreads()["sd"].between(0.001, 0.1).all()
    pairs = load_tuned_pairs().set_index("row")
    assert pairs.loc["042", "value"] == pytest.approx(-0.82) and pairs.loc["042", "domain"] == "in"


def test_no_independent_test_repeats_table_9():
    assert set(load_tests()["replicates_table9"]) == {"no"}


def test_drift_names_claims_and_every_benchmark_has_open_settings():
    assert set(load_drift()["claim"]) == {"A", "B", "C", "D", "E", "P"}
    assert set(load_scores()["benchmark"]) < set(load_unspecified()["benchmark"])


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_source_date_and_certainty(name):
    file, load = TABLES[name]
    table = load(FOLDER / file)
    assert (table["source"].str.len() > 5).all() and (table["date_read"] >= "2026-11-01").all()
    assert set(table["certainty"]) <= {"read", "inferred"}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("column", ["source", "certainty", "date_read"])
def test_row_without_its_origin_does_not_load(tmp_path, name, column):
    with pytest.raises(EvidenceError, match=f"row 5, column `{column}`"):
        TABLES[name][1](edited(tmp_path, name, cell(column, "")))


@pytest.mark.parametrize(
    "name, edit, message",
    [
        ("pairs", lambda t: t.drop(columns="licence"), "column `licence` is missing"),
        ("pairs", cell("agent_percent", "0.3044"), "row 5, column `agent_percent`: .* looks like a fraction"),
        ("pairs", cell("agent_percent", "0.5"), "row 5, column `agent_percent`: .* write the sign"),
        ("pairs", cell("general_percent", "-3"), "row 5, column `general_percent`: must be a finite number above 0"),
        ("pairs", cell("n_tasks", "0"), "row 5, column `n_tasks`: must be a finite number above 0"),
        ("pairs", cell("n_clusters", "many"), "row 5, column `n_clusters`: must be a number"),
        ("pairs", cell("params_b", "8B"), "row 5, column `params_b`: must be a number"),
        ("pairs", cell("base_identity", "sure"), "row 5, column `base_identity`: must be one of read, inferred"),
        ("pairs", cell("agent_date", "December"), "row 5, column `agent_date`: must be a date"),
        ("pairs", cell("agent_percent", "", row=4), "row 6, columns `agent_percent`, `general_percent`: one of"),
        ("pairs", lambda t: pd.concat([t, t.iloc[[0]]]), "row 107, columns .*: repeats an earlier row"),
        ("general", cell("value_percent", "45.3.1"), "row 5, column `value_percent`: must be a number"),
        ("general", cell("n_tasks", "1.5"), "row 5, column `n_tasks`: must be a whole number"),
        ("public", cell("value_percent", "0.673"), "row 5, column `value_percent`: .* looks like a fraction"),
        ("public", cell("sft_percent", "162"), "row 5, column `sft_percent`: must be at most 100"),
        ("public", lambda t: pd.concat([t, t.iloc[[1]]]), "row 15, columns .*: repeats an earlier row"),
        ("paper_tables", cell("n_tasks", "0"), "row 5, column `n_tasks`: must be a finite number above 0"),
        ("paper_tables", cell("value_percent", "0.349"), "row 5, column `value_percent`: .* looks like a fraction"),
        ("attempts", cell("value", "half"), "row 5, column `value`: must be a finite number or empty"),
        ("attempts", cell("value", "inf"), "row 5, column `value`: must be a finite number or empty"),
        ("attempts", cell("n_tasks", "0"), "row 5, column `n_tasks`: must be a finite number above 0"),
        ("attempts", cell("replicates_table9", ""), "row 5, column `replicates_table9`: must be one of yes, no"),
        ("drift", cell("claim", "Z"), "row 5, column `claim`: must be one of A, B"),
        ("drift", cell("drift", "false"), "row 5, column `drift`: must be one of kept, widened"),
        ("drift", lambda t: t.drop(columns="needed"), "column `needed` is missing"),
        ("world_models", cell("design", "alone"), "row 5, column `design`: must be one of standalone, warmup"),
        ("world_models", cell("pool", "best"), "row 5, column `pool`: must be one of primary"),
        ("world_models", cell("treatment_percent", ""), "row 5, columns `treatment_percent`, .*both are needed"),
        ("world_models", cell("spread_kind", ""), "row 5, column `spread_kind`: is needed where an SD is given"),
        ("world_models", cell("runs", "three"), "row 5, column `runs`: must be a number"),
        ("world_models", lambda t: pd.concat([t, t.iloc[[0]]]), "row 130, columns `row`: repeats an earlier row"),
        ("run_spreads", cell("sd_points", "0"), "row 5, column `sd_points`: must be a finite number above 0"),
        ("run_spreads", cell("level", "seed"), "row 5, column `level`: must be one of evaluation, training"),
        ("tuned_pairs", cell("domain", "yes"), "row 5, column `domain`: must be one of in, near, held_out"),
        ("tuned_pairs", cell("base_percent", "0.3"), "row 5, column `base_percent`: .* looks like a fraction"),
        ("independent_tests", cell("role", "judge"), "row 5, column `role`: must be one of agent, simulator"),
        ("independent_tests", cell("value", ""), "row 5, column `value`: must be a finite number"),
        ("unspecified", cell("stated", "maybe"), "row 5, column `stated`: must be one of yes, partly, no"),
        ("unspecified", lambda t: pd.concat([t, t.iloc[[0]]]), "row 38, columns .*: repeats an earlier row"),
    ],
)  # fmt: skip
def test_malformed_table_is_refused_by_row_and_column(tmp_path, name, edit, message):
    with pytest.raises(EvidenceError, match=message):
        TABLES[name][1](edited(tmp_path, name, edit))


@pytest.mark.parametrize("name", TABLES)
def test_printed_table_fits_and_names_every_source(name):
    text = page(name)
    assert max(map(len, text.splitlines())) <= WIDTH
    flat = " ".join(text.split())
    for source in set(TABLES[name][1](FOLDER / TABLES[name][0])["source"]):
        assert source.split()[0] in flat


def test_printing_loses_no_cell(capsys):
    main(["drift"])
    printed = "".join(capsys.readouterr().out.split())
    assert "drift.csv,19rows" in printed
    for outlet in ("VentureBeat", "meteoraweb.com", "appify.global"):
        assert outlet in printed


def test_one_table_is_printed_by_name_and_own_table_is_checked(tmp_path, capsys):
    main(["unspecified"])
    assert capsys.readouterr().out.startswith("unspecified  (unspecified.csv, 36 rows)")
    main(["check", "pairs", str(edited(tmp_path, "pairs", lambda t: t.iloc[:2]))])
    assert "2 rows, a valid table of `pairs`" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nope"], "table `nope` is unknown; there are scores, benchmarks"),
        (["check", "nope", "x.csv"], "table `nope` is unknown"),
        (["check", "pairs"], "`check` takes the kind of table and a file"),
        (["check", "pairs", "absent.csv"], "absent.csv cannot be read"),
    ],
)
def test_mistaken_command_is_one_clear_line_and_exit_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        command_line(["evidence", *arguments])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and message in error and error.count("\n") == 1


@pytest.mark.slow
def test_module_runs_as_a_command():
    done = subprocess.run([sys.executable, "-m", "replication", "evidence", "nope"], capture_output=True, text=True)
    assert done.returncode == 2 and "unknown" in done.stderr
