"""The paper is built from frozen data alone, twice the same bytes, and a missing number stops it."""

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from parts import index_of, labels_of, repeat_check, training_record

from replication import settings
from replication.commands import paper
from replication.errors import AnalysisError, StoreError
from replication.publish.outputs import OUTPUTS, FigureOutput
from replication.records import Episode, RunSpec, Sampling, Score, Task, TrainedRun
from replication.store import Store
from replication.store import frozen as frozen_data
from replication.store.index import write_index
from replication.store.locking import locked
from replication.text import points

ROOT = Path(__file__).parents[2]
CLAIMS = ROOT / "conf/claim"
SCALES = (("s", 0.0015), ("xs", 0.0005))
PUBLISHED_FIGURES = {
    f"{name}.svg"
    for name in (
        "forest_published", "fragility", "tipping", "grim", "pairs",
        "literature_forest", "literature_funnel", "literature_left_out",
    )
}  # fmt: skip
ARMS = {"base": 0.1, "agent_sft": 0.4, "lwm_then_sft": 0.6, "sft_then_lwm_rl": {"xs": 0.5}}


@pytest.fixture
def folder(tmp_path):
    """A paper folder with the sources and nothing else."""
    out = tmp_path / "paper"
    out.mkdir()
    for name in ("paper.typ", "refs.bib"):
        shutil.copy(ROOT / "paper" / name, out)
    return out


def fill(store, table, scaffold, details=()):
    """Store a score table; returns its run_ids. The tasks are placeholders: nothing is played."""
    run_ids = []
    for _, part in table.groupby(["arm", "scale", "training_seed", "benchmark"]):
        first = part.iloc[0]
        spec = RunSpec(
            engine="scripted", engine_options={}, max_malformed=3,
            model=f"organism/{first['arm']}/{first['scale']}/s{first['training_seed']}", revision="r1", dtype="float32",
            context=512, benchmark=first["benchmark"], benchmark_version="1", scaffold=scaffold, scaffold_version="1",
            max_turns=8, max_episode_tokens=512, sampling=Sampling(temperature=0.0, max_tokens=64), seed=0,
        )  # fmt: skip
        tasks = {
            id_: Task(id=id_, benchmark=spec.benchmark, prompt=id_, tools=(), setup={}, attributes={"level": 1})
            for id_ in part["task_id"].unique()
        }
        labels = labels_of(spec, arm=first["arm"], scale=first["scale"], params_b=float(first["params_b"]),
                           training_seed=int(first["training_seed"]))  # fmt: skip
        with store.writer(spec, labels, {"engine": "scripted"}, list(tasks.values())) as writer:
            for row in part.to_dict("records"):
                key = {"run_id": spec.run_id, "task_id": row["task_id"], "trial": int(row["trial"]),
                       "task_hash": tasks[row["task_id"]].content_hash}  # fmt: skip
                episode = Episode(
                    **key, trajectory=(), stop_reason="answer", n_turns=3, n_malformed=0, n_prompt_tokens=100,
                    n_completion_tokens=20, seeds=(1,), wall_s=0.1,
                )  # fmt: skip
                writer.append(
                    episode, Score(**key, value=row["value"], grader="exact-1", details={d: row[d] for d in details})
                )
        run_ids.append(spec.run_id)
    return sorted(run_ids)


def collect(results, scores, curves, probe=None, **index):
    """Leave a results folder as the collect half does."""
    store = Store(results / "store")
    run_ids = fill(store, scores, "compact")
    training = []
    for (arm, scale, seed), part in scores.groupby(["arm", "scale", "training_seed"]):
        path = results / f"{arm}-{scale}-{seed}.csv"
        own = curves[(curves["arm"] == arm) & (curves["scale"] == scale) & (curves["training_seed"] == seed)]
        own.drop(columns=["arm", "scale", "training_seed"]).to_csv(path, index=False)
        record = training_record(
            arm=arm, scale=scale, training_seed=int(seed), training_run=f"{arm}-{seed}",
            params_b=float(part["params_b"].iloc[0]), n_tokens=0 if own.empty else 819200,
            flops=0.0 if own.empty else 5.1e12, wall_s=41.5, phases=({"corpus": "episodes"},),
        )  # fmt: skip
        training.append(TrainedRun(record=record, curve=str(path)))
    checks = {run_id: repeat_check(n_tasks_repeated=40) for run_id in run_ids}
    probes = () if probe is None else tuple(fill(store, probe, "probe", ("token_f1",)))
    checks |= {run_id: repeat_check(as_expected=False) for run_id in probes}
    fields = {
        "deviations": ("small `models`",), "run_ids": tuple(run_ids), "probe_run_ids": probes,
        "training": tuple(training), "repeat_checks": checks,
        "engine": {"engine": "vllm", "version": "0.32.0", "flags": {"seed": 0, "note": None}},
    }  # fmt: skip
    write_index(results, index_of("controlled", **(fields | index)))


@pytest.fixture(scope="module")
def simple(tmp_path_factory, make_scores, make_curves):
    """A study as the first version collected it: one scale and two arms only."""
    results = tmp_path_factory.mktemp("simple")
    collect(results, make_scores({"agent_sft": 0.4, "lwm_then_sft": 0.6}), make_curves())
    return results


@pytest.fixture
def collected(simple, tmp_path):
    """A copy that a test may destroy."""
    return Path(shutil.copytree(simple, tmp_path / "results"))


@pytest.fixture(scope="module")
def rich(tmp_path_factory, make_scores, make_curves, make_probe):
    """A built paper of a study with several scales, arms at some of them, a probe, levels and its own comparisons."""
    results = tmp_path_factory.mktemp("rich")
    scores = make_scores(ARMS, scales=SCALES, n_tasks=12, n_trials=1, only_first=("base",), tau=0.05)
    curves = make_curves(arms=tuple(ARMS)[1:], scales=("s", "xs"))
    collect(
        results, scores, curves, make_probe(scores, dict.fromkeys(ARMS, 0.5)),
        comparisons=(("sft_then_lwm_rl", "agent_sft"), ("agent_sft", "base"), ("placebo", "base")),
        levels={"xs": {"calling": (1,), "terminal": (1, 1, 2)}, "s": {"calling": (2,), "terminal": (3,)}},
        domains={"calling": "out", "terminal": "in"},
    )  # fmt: skip
    out = results / "paper"
    out.mkdir()
    for name in ("paper.typ", "refs.bib"):
        shutil.copy(ROOT / "paper" / name, out)
    return build(out, "controlled", "controlled", results), out, scores


def build(folder, study="reanalysis", kind="reanalysis", results=Path("/nonexistent")):
    analysis = dataclasses.replace(settings.analysis(), n_simulations=200)
    return paper.build(study, kind, results=results, paper=folder, claims=CLAIMS, analysis=analysis)


def numbers(folder):
    return json.loads((folder / "data/numbers.json").read_text())


def test_reanalysis_needs_no_store_and_says_that_nothing_was_run(folder):
    built = build(folder)
    assert numbers(folder)["collected"] is None
    assert {v.study for v in built.verdicts} == {"reanalysis"}
    written = {p.relative_to(folder).as_posix() for p in built.outputs}
    assert {f"figures/{name}" for name in PUBLISHED_FIGURES} <= written
    assert {"data/verdicts.json", "data/published.csv", "data/numbers.json", "paper.pdf"} <= written
    assert {
        "data/reanalysis/pairs.csv",
        "data/reanalysis/literature_means.csv",
        "data/reanalysis/audit_tipping.csv",
        "data/reanalysis/fragility_map.csv",
    } <= written
    assert (folder / "paper.pdf").read_bytes().startswith(b"%PDF")


def test_controlled_study_is_frozen_analysed_and_printed(folder, collected):
    from replication.text import interval

    built = build(folder, "controlled", "controlled", collected)
    assert {v.study for v in built.verdicts} == {"reanalysis", "controlled"}
    assert {path.name for path in (folder / "data/controlled").iterdir()} == set(frozen_data.FILES)
    assert {path.name for path in (folder / "figures").iterdir()} == {
        "forest_lwm_then_sft~agent_sft.svg", "curves.svg", "compute.svg"
    } | PUBLISHED_FIGURES  # fmt: skip
    estimates = pd.read_csv(folder / "data/estimates.csv").query("target == 'T3' and policy == 'exclude'")
    printed = {row["benchmark"]: row["T3"] for row in numbers(folder)["collected"]["comparisons"][0]["rows"]}
    assert printed == {r.benchmark: interval(r.value, r.low, r.high) for r in estimates.itertuples()}
    assert ["version", "0.32.0"] in numbers(folder)["collected"]["manifest"]


@pytest.mark.slow
def test_second_build_from_frozen_data_alone_gives_the_same_bytes(folder, collected):
    first = {path: path.read_bytes() for path in build(folder, "controlled", "controlled", collected).outputs}
    shutil.rmtree(collected)
    second = {path: path.read_bytes() for path in build(folder, "controlled", "controlled", collected).outputs}
    assert first == second


@pytest.mark.slow
def test_figures_and_tables_of_an_earlier_study_do_not_stay(folder, collected):
    build(folder, "controlled", "controlled", collected)
    build(folder)
    assert {path.name for path in (folder / "figures").iterdir()} == PUBLISHED_FIGURES
    assert {path.name for path in (folder / "data").glob("*.csv")} == {"published.csv"}


def test_probe_is_frozen_in_a_table_of_its_own_and_no_analysis_takes_it_for_scores(rich):
    _, out, scores = rich
    frozen = frozen_data.read_frozen("controlled", out / "data")
    assert set(frozen.scores["scaffold"]) == {"compact"} and len(frozen.scores) == len(scores)
    assert tuple(frozen.probe.columns) == frozen_data.PROBE
    assert frozen.probe["token_f1"].between(0, 1).all() and set(frozen.probe["value"]) <= {0.0, 1.0}
    printed = numbers(out)["collected"]
    assert printed["n_episodes"] == len(scores) and printed["scaffolds"] == ["compact"]
    assert (printed["n_runs_repeated"], printed["n_repeats_as_expected"]) == (len(frozen.about.run_ids),) * 2
    assert printed["probe"]["domains"] == ["in", "out", "all"]
    assert len(printed["probe"]["correlations"]) == 12


def test_study_of_several_scales_prints_levels_scales_and_omitted_comparisons(rich):
    built, out, _ = rich
    printed = numbers(out)["collected"]
    assert printed["levels"] == {
        "benchmarks": ["calling", "terminal"],
        "rows": [["xs", "1", "1, 1, 2"], ["s", "2", "3"]],
    }
    assert [scale["scale"] for scale in printed["scales"]] == ["xs", "s"]
    assert all(printed["figures"].values())
    assert {p.name for p in built.outputs if p.suffix == ".svg"} >= {"scales.svg", "probe.svg", "compute.svg"}
    made = {(c["treatment"], c["control"]): c for c in printed["comparisons"]}
    assert made["lwm_then_sft", "agent_sft"]["scales"] == ["xs", "s"]
    assert [row["benchmark"] for row in made["lwm_then_sft", "agent_sft"]["rows"]][-2:] == [
        "mean of these, xs", "mean of these, s"
    ]  # fmt: skip
    assert made["sft_then_lwm_rl", "agent_sft"]["scales"] == []
    assert made["agent_sft", "base"]["mean"]["T3"] == made["agent_sft", "base"]["mean"]["half_T3"] == "–"
    assert {left["treatment"]: left["reason"] for left in printed["left_out"]}["placebo"].startswith(
        "arm `placebo` was not"
    )
    assert {(v["claim"], v["scale"]) for v in printed["per_scale"]} >= {("A1", "xs"), ("A1", "s"), ("B", "xs")}
    assert {(row["arm"], row["scale"]) for row in printed["aa"]["rows"]} == {
        ("agent_sft", "xs"), ("lwm_then_sft", "xs"), ("sft_then_lwm_rl", "xs"), ("agent_sft", "s"), ("lwm_then_sft", "s")
    }  # fmt: skip
    assert [(row["arm"], row["scale"]) for row in printed["arms"]][:2] == [("base", "xs"), ("agent_sft", "xs")]


def test_every_listed_figure_is_drawn_and_every_drawn_one_is_listed_once(rich):
    _, out, _ = rich
    drawn = [path.relative_to(out).as_posix() for path in (out / "figures").iterdir()]
    figures = [output for output in OUTPUTS if isinstance(output, FigureOutput)]
    assert {path: sum(figure.matches(path) for figure in figures) for path in drawn} == dict.fromkeys(drawn, 1)
    assert [figure.path for figure in figures if not any(map(figure.matches, drawn))] == []


def test_every_written_table_is_listed_once(rich):
    built, out, _ = rich
    written = [path.relative_to(out).as_posix() for path in built.outputs if path.suffix in (".csv", ".json")]
    assert {path: sum(output.matches(path) for output in OUTPUTS) for path in written} == dict.fromkeys(written, 1)


def test_paper_is_not_built_again_where_nothing_has_changed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        cfg = settings.checked(compose("config", overrides=["study=reanalysis"]))
    paper.main(cfg)
    first = capsys.readouterr().out
    files = {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file() and "data" in path.parts}
    assert (tmp_path / "outputs/reanalysis/paper.pdf").exists() and not (tmp_path / "paper").exists()
    paper.main(cfg)
    second = capsys.readouterr().out
    assert second.startswith("nothing has changed since the last build of outputs/reanalysis")
    assert second.endswith(first)
    assert files and {path: path.stat().st_ino for path in files} == files


def test_second_build_in_a_folder_is_refused_while_the_first_one_writes(tmp_path):
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        cfg = settings.checked(compose("config", overrides=["study=reanalysis", f"paths.paper={tmp_path}"]))
    with locked(tmp_path / ".build"), pytest.raises(StoreError, match=rf"is being written by process {os.getpid()}"):
        paper.main(cfg)
    assert not (tmp_path / "data").exists()


def test_only_the_study_of_the_readme_is_built_in_paper():
    paths = settings.Paths(readme_study="controlled")
    assert settings.paper_folder(paths, "controlled") == Path("paper")
    assert settings.paper_folder(paths, "reanalysis") == Path("outputs/reanalysis")
    assert settings.paper_folder(settings.Paths(paper="paper", readme_study="controlled"), "mine") == Path("paper")


@pytest.mark.slow
def test_table_figure_and_verdict_round_alike(folder, tmp_path, make_scores, make_curves):
    # one task of eighty lost: -1.25 points, which rounds half to even or half away from zero
    scores = make_scores({"agent_sft": 0.5, "lwm_then_sft": 0.5}, n_tasks=80, n_trials=1, n_runs=2)
    solved = np.tile([1.0, 0.0], 40)
    scores["value"] = np.tile(solved, len(scores) // 80)
    scores.loc[(scores["arm"] == "lwm_then_sft") & scores["task_id"].str.endswith("000"), "value"] = 0.0
    collect(tmp_path / "results", scores, make_curves())
    built = build(folder, "controlled", "controlled", tmp_path / "results")
    row = numbers(folder)["collected"]["comparisons"][0]["mean"]
    assert row["T2"].startswith("−1.2 [")
    verdict = next(v for v in built.verdicts if (v.study, v.claim_id, v.target) == ("controlled", "A1", "T2"))
    assert points(verdict.replication) == row["T2"]
    printed = next(block for block in numbers(folder)["verdicts"] if block["study"] == "controlled")["rows"][0]
    assert printed["estimate"].startswith("−1.2 [")


def test_study_that_was_neither_collected_nor_frozen_is_one_clear_error(folder):
    with pytest.raises(AnalysisError, match=r"study `mine` has been neither collected .* nor frozen"):
        build(folder, "mine", "controlled")


@pytest.mark.slow
def test_number_that_is_not_in_the_data_stops_the_build(folder):
    source = folder / "paper.typ"
    source.write_text(source.read_text().replace('get("published.n_rows")', 'get("published.n_cols")', 1))
    with pytest.raises(AnalysisError, match=r"unknown key `published\.n_cols` in data/numbers\.json"):
        build(folder)
    assert not (folder / "paper.pdf").exists()


def test_every_figure_of_the_paper_has_a_caption_that_states_level_and_method(rich):
    import typst

    _, out, _ = rich
    found = typst.query(str(out / "paper.typ"), "figure", root=str(out), ignore_system_fonts=True)
    figures = json.loads(found)
    assert all(figure["caption"] for figure in figures)
    captions = {
        f["body"]["source"]: json.dumps(f["caption"], ensure_ascii=False) for f in figures if "source" in f["body"]
    }
    drawn = {name.removeprefix("figures/").removesuffix(".svg") for name in captions}
    assert drawn == {path.stem for path in (out / "figures").iterdir()}
    for name, caption in captions.items():
        if "forest" in name or "scales" in name:
            assert "95\N{NO-BREAK SPACE}%" in caption and "quantiles" in caption
    assert "Bonferroni" in captions["figures/scales.svg"]
    assert "Fisher" in captions["figures/probe.svg"]


def test_no_decimal_number_is_typed_into_the_prose():
    body = (ROOT / "paper/paper.typ").read_text().partition("= What was claimed")[2]
    assert typed_decimals(body) == []
    for typed, decimal in (("7.1 points", "7.1"), ("$p = .031$", ".031"), ("alpha of .05", ".05"), ("(.5)", ".5")):
        assert typed_decimals(f"{body} The rows differ by {typed}.") == [decimal]


def test_no_number_of_points_or_percent_is_typed_into_the_prose():
    body = (ROOT / "paper/paper.typ").read_text().partition("= What was claimed")[2]
    assert typed_amounts(body) == []
    for typed in ("31 %", "31%", "7 points", "7~points", "31\N{NO-BREAK SPACE}%", "-3 points"):
        assert len(typed_amounts(f"{body} The rows differ by {typed}.")) == 1


def typed_amounts(body):
    """Whole numbers before a percent sign or the word points, outside of widths of figures and of names."""
    return re.findall(r"\d+[\s~]*(?:%|points\b)", re.sub(r"(?:width|height): \d+%|#[\w.-]+", "", body))


def typed_decimals(body):
    """Decimals outside dimensions and file names, with or without a zero before the point."""
    return re.findall(r"(?<![\w.])\d*\.\d+(?!\w|\.\d)", re.sub(r"\b\d+\.\d+(pt|cm|em|fr)\b", "", body))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["one run unscored", "nothing scored", "one task", "one arm, one benchmark"])
def test_study_without_some_scores_still_has_a_paper_that_says_what_is_missing(
    folder, tmp_path, make_scores, make_curves, case
):
    n_tasks = 1 if case == "one task" else 6
    scores = make_scores({"agent_sft": 0.4, "lwm_then_sft": 0.6}, n_tasks=n_tasks)
    if case == "one run unscored":
        scores["value"] = scores["value"].mask((scores["arm"] == "agent_sft") & (scores["training_seed"] == 1))
    elif case == "nothing scored":
        scores["value"] = np.nan
    elif case == "one arm, one benchmark":
        scores = scores[(scores["arm"] == "agent_sft") & (scores["benchmark"] == "calling")]
    scores["value"] = scores["value"].astype(object).where(scores["value"].notna(), None)
    collect(tmp_path / "results", scores, make_curves())
    built = build(folder, "controlled", "controlled", tmp_path / "results")
    ours = [verdict for verdict in built.verdicts if verdict.study == "controlled"]
    reason = {
        "one run unscored": "`agent_sft` has no score on `calling` at scale `tiny` with scaffold `compact` in 1 of its 3",
        "nothing scored": "has no score on `calling` at scale `tiny` with scaffold `compact` in 3 of its 3 checkpoints",
        "one task": "T3 needs at least 2 tasks per benchmark; got 1 of `calling`",
        "one arm, one benchmark": "arm `lwm_then_sft` was not run; the study has agent_sft.",
    }[case]
    assert {verdict.outcome for verdict in ours} == {"not_testable"} and reason in ours[0].reason
    assert (folder / "paper.pdf").stat().st_size > 10_000
    assert not re.search(r"\bnan\b", (folder / "data/numbers.json").read_text(), re.IGNORECASE)


@pytest.mark.parametrize(
    ("study", "where", "beside"),
    [
        ("controlled", "paper", ["released_small", "smollm2"]),
        ("controlled", "elsewhere", ["released_small", "smollm2"]),
        ("reanalysis", "elsewhere", []),
        ("smollm2", "paper", ["released_small"]),
        ("smollm2", "elsewhere", []),
    ],
)
def test_frozen_studies_are_shown_beside_that_of_readme_in_any_folder_and_beside_all_in_its_folder(
    tmp_path, study, where, beside
):
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base=None):
        cfg = settings.checked(compose("config", overrides=[f"study={study}"]))
    shown = paper._shown_beside(cfg, {"paper": paper.SOURCES, "elsewhere": tmp_path}[where], paper.SOURCES / "data")
    assert shown == beside


def test_a_study_to_show_that_is_not_frozen_is_named(tmp_path):
    overrides = ["study=controlled", f"paths.paper={tmp_path}", "paths.also_shown=[smollm2,nothing]"]
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base=None):
        cfg = settings.checked(compose("config", overrides=overrides))
    with pytest.raises(AnalysisError, match="also_shown` names `nothing`, not frozen in"):
        paper.main(cfg)
    assert not (tmp_path / "data").exists()
