"""The paper is built from frozen data alone, twice the same bytes, and a missing number stops it."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from replication import paper
from replication.errors import AnalysisError
from replication.verdicts import Settings

ROOT = Path(__file__).parents[1]
CLAIMS = ROOT / "conf/claim"


@pytest.fixture
def folder(tmp_path):
    """A paper folder with the sources and nothing else."""
    out = tmp_path / "paper"
    out.mkdir()
    for name in ("paper.typ", "refs.bib"):
        shutil.copy(ROOT / "paper" / name, out)
    return out


@pytest.fixture
def collected(tmp_path, make_scores, make_curves, monkeypatch):
    """A results folder as the collect half leaves it, with the store's table planted."""
    results = tmp_path / "results"
    (results / "studies").mkdir(parents=True)
    scores = make_scores({"agent_sft": 0.4, "lwm_then_sft": 0.6})
    training = []
    for (arm, scale, seed), curve in make_curves().groupby(["arm", "scale", "training_seed"]):
        path = results / f"{arm}-{seed}.csv"
        curve.drop(columns=["arm", "scale", "training_seed"]).to_csv(path, index=False)
        training.append(
            {
                "arm": arm, "scale": scale, "training_seed": seed, "training_run": f"{arm}-{seed}", "params_b": 0.001,
                "weights_sha256": "ab" * 32, "n_tokens": 819200, "flops": 5.1e12, "seconds_s": 41.5, "curve": str(path),
                "phases": [{"corpus": "episodes"}],
            }
        )  # fmt: skip
    index = {
        "study": "controlled", "kind": "controlled", "scope": "organisms", "deviations": ["small `models`"],
        "run_ids": sorted(scores["run_id"].unique()), "training": training,
        "manifest": {"engine": "vllm", "version": "0.32.0", "flags": {"seed": 0, "note": None}},
        "repeat_checks": {run_id: {"as_expected": True} for run_id in scores["run_id"].unique()},
    }  # fmt: skip
    (results / "studies/controlled.json").write_text(json.dumps(index))
    monkeypatch.setattr("replication.store.Store.score_table", lambda self, run_ids: scores)
    return results


def build(folder, study="reanalysis", kind="reanalysis", results=Path("/nonexistent")):
    return paper.build(study, kind, results=results, paper=folder, claims=CLAIMS, settings=Settings())


def test_reanalysis_needs_no_store_and_says_that_nothing_was_run(folder):
    built = build(folder)
    numbers = json.loads((folder / "data/numbers.json").read_text())
    assert numbers["collected"] is None
    assert {v.study for v in built.verdicts} == {"reanalysis"}
    assert [p.relative_to(folder).as_posix() for p in built.outputs] == [
        "data/verdicts.json", "data/published.csv", "data/numbers.json", "figures/forest_published.svg", "paper.pdf"
    ]  # fmt: skip
    assert (folder / "paper.pdf").read_bytes().startswith(b"%PDF")


def test_controlled_study_is_frozen_analysed_and_printed(folder, collected):
    built = build(folder, "controlled", "controlled", collected)
    assert {v.study for v in built.verdicts} == {"reanalysis", "controlled"}
    assert {path.name for path in (folder / "data/controlled").iterdir()} == set(paper.FROZEN)
    assert {path.name for path in (folder / "figures").iterdir()} == {
        "forest_published.svg", "forest_lwm_then_sft_agent_sft.svg", "curves.svg"
    }  # fmt: skip
    numbers = json.loads((folder / "data/numbers.json").read_text())
    estimates = pd.read_csv(folder / "data/estimates.csv").query("target == 'T3' and policy == 'exclude'")
    printed = {row["benchmark"]: row["T3"]["value"] for row in numbers["collected"]["comparisons"][0]["rows"]}
    assert printed == dict(zip(estimates["benchmark"], estimates["value"], strict=True))
    assert ["version", "0.32.0"] in numbers["collected"]["manifest"]


def test_second_build_from_frozen_data_alone_gives_the_same_bytes(folder, collected):
    first = {path: path.read_bytes() for path in build(folder, "controlled", "controlled", collected).outputs}
    shutil.rmtree(collected)
    second = {path: path.read_bytes() for path in build(folder, "controlled", "controlled", collected).outputs}
    assert first == second


def test_figures_of_an_earlier_study_do_not_stay(folder, collected):
    build(folder, "controlled", "controlled", collected)
    build(folder)
    assert {path.name for path in (folder / "figures").iterdir()} == {"forest_published.svg"}
    assert not (folder / "data/estimates.csv").exists()


def test_study_that_was_neither_collected_nor_frozen_is_one_clear_error(folder):
    with pytest.raises(AnalysisError, match=r"study `mine` has been neither collected .* nor frozen"):
        build(folder, "mine", "controlled")


def test_number_that_is_not_in_the_data_stops_the_build(folder):
    source = folder / "paper.typ"
    source.write_text(source.read_text().replace('get("published.n_rows")', 'get("published.n_cols")', 1))
    with pytest.raises(AnalysisError, match=r"unknown key `published\.n_cols` in data/numbers\.json"):
        build(folder)
    assert not (folder / "paper.pdf").exists()


def test_every_figure_of_the_paper_has_a_caption_that_states_level_and_method(folder, collected):
    import typst

    build(folder, "controlled", "controlled", collected)
    found = typst.query(
        str(folder / "paper.typ"), "figure", field="caption", root=str(folder), ignore_system_fonts=True
    )
    captions = [json.dumps(caption) for caption in json.loads(found)]
    assert len(captions) == 10
    assert sum("95 %" in caption and "quantiles" in caption for caption in captions) == 2


def test_no_decimal_number_is_typed_into_the_prose():
    body = (ROOT / "paper/paper.typ").read_text().partition("= What was claimed")[2]
    assert typed_decimals(body) == []
    assert typed_decimals(body.replace("point upwards.", "point upwards, by 7.1 points.")) == ["7.1"]


def typed_decimals(body):
    """Decimals outside code, dimensions, equations and file names."""
    return re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", re.sub(r"\b\d+\.\d+(pt|cm|em|fr)\b", "", body))
