"""Names and free texts reach tables, figures, paper and terminal as the same text, whatever they look like."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from frozen_studies import build, freeze, public_scores
from pdf_text import pdf_text

from replication.errors import AnalysisError
from replication.files import read_csv, write_csv
from replication.publish.figures import compute, forest
from replication.publish.figures.style import save
from replication.publish.glyphs import missing_characters
from replication.publish.outputs import OUTPUTS, require_own_folder
from replication.publish.verdict_tables import verdict_markdown, verdict_text
from replication.store.frozen import read_frozen
from replication.store.index import require_names
from replication.text import escaped

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
ODD = (
    "null", "NA", "nan", "NaN", "N-A", "None", "true", "False", "007", "0.50", "1e5", "1_000", "0x10", "inf", "con", "nul",
    "all", "in", "out", "mean", "T1", "1-", "2026-11-26", "1.", "a--b", "x_", "0", "9.99e-5", "yes", "z" * 64,
)  # fmt: skip
FREE = "# $x^2$ $ \\ * _a_ @b <c> \" ' ] [ // -- ... ~ %s {d} é Ж <!-- verdicts:end -->"


def legal_names(n, seed=0):
    """Draw names by the rule of conf/, the odd ones first; no two are equal but for the case of their letters."""
    rng = np.random.default_rng(seed)
    names = {name.lower(): name for name in ODD}
    while len(names) < n:
        length = int(rng.choice([1, 2, 3, 8, 20, 64]))
        letters = rng.choice(list(LETTERS + "._+-"), length)
        name = str(rng.choice(list(LETTERS))) + "".join(letters[1:])
        names.setdefault(name.lower(), name)
    return list(names.values())[:n]


def squeezed(text):
    """Drop spaces, and the numbers of pages."""
    return re.sub(r"\s+", "", re.sub(r"\d+ / \d+ *\n", "", text))


@pytest.fixture(scope="module")
def odd(tmp_path_factory, make_scores, make_curves, make_probe):
    """A built study all of whose names look like numbers, missing values or something else."""
    folder = tmp_path_factory.mktemp("odd")
    arms = {"null": 0.5, "NA": 0.4, "007": 0.6, "z" * 64: 0.3}
    scores = make_scores(
        arms, benchmarks=("true", "nan", "all"), scales=(("0.50", 0.0005), ("all", 0.01)), n_tasks=8,
        n_trials=1, n_runs=2, scaffolds=("inf",),
    )  # fmt: skip
    curves = make_curves(arms=tuple(arms), n_runs=2, scales=("0.50", "all"))
    freeze(
        folder, scores, "None", curves, make_probe(scores, dict.fromkeys(arms, 0.5)), scope=FREE,
        deviations=("a ` alone", FREE), comparisons=(("null", "NA"), ("007", "z" * 64)),
        domains={"true": "in", "nan": "out", "all": "in"},
        levels={"0.50": {"true": (1,), "nan": (2,), "all": (1, 2)}}, engine={"engine": FREE, "path": "/x" * 80},
    )  # fmt: skip
    return folder, build(folder, "None")


def test_names_that_look_like_numbers_or_missing_values_are_frozen_and_tabulated_as_they_are(odd):
    folder, _ = odd
    frozen = read_frozen("None", folder / "data")
    assert set(frozen.scores["arm"]) == {"null", "NA", "007", "z" * 64} == set(frozen.training["arm"])
    assert set(frozen.scores["scale"]) == {"0.50", "all"} == set(frozen.curves["scale"])
    assert set(frozen.probe["benchmark"]) == {"true", "nan", "all"}
    types = dict.fromkeys(("treatment", "control", "scale", "benchmark", "policy", "method", "target"), "object")
    estimates = read_csv(folder / "data/estimates.csv", types)
    assert set(zip(estimates["treatment"], estimates["control"], strict=True)) == {
        ("null", "NA"), ("007", "z" * 64)
    }  # fmt: skip
    assert set(estimates["scale"]) == {"all scales", "0.50", "all"}
    assert {"true", "nan", "all", "mean of these"} <= set(estimates["benchmark"])
    assert estimates.loc[estimates["scale"] == "all", "params_b"].unique().tolist() == [0.01]


def test_names_and_free_texts_are_in_the_pdf_as_they_are(odd):
    folder, _ = odd
    text = squeezed(pdf_text(folder / "paper.pdf"))
    for listed in (
        "007•NA•null•" + "z" * 64,
        "scale0.50,scaffoldinf",
        "experiment:studyNone",
        "scaleall,10Mparameters",
    ):
        assert listed in text, listed
    assert "null−NA(0.50,all)" in text and "007−" + "z" * 64 in text
    assert text.count(squeezed(FREE)) >= 3 and "a`alone" in text
    assert "path" + "/x" * 80 in text
    assert (folder / "figures/forest_null~NA.svg").exists()


def test_free_text_cannot_break_a_generated_block_of_markdown_or_the_terminal(odd):
    _, built = odd
    own = [verdict for verdict in built.verdicts if verdict.study == "None"]
    assert own
    shown = verdict_markdown(own)
    assert "<!--" not in shown.replace("\\<", "") and "\\$x^2\\$" in shown
    assert FREE in " ".join(verdict_text(own, width=200).split())
    assert escaped("a_b _c_ * `") == "a_b \\_c\\_ \\* \\`"


@pytest.mark.slow
def test_two_hundred_legal_names_are_in_the_pdf_exactly(tmp_path, make_scores):
    names = legal_names(200)
    scores = make_scores(dict.fromkeys(names, 0.5), benchmarks=tuple(names[:3]), n_runs=1, n_trials=1, n_tasks=2,
                         scales=((names[3], 0.001),), scaffolds=(names[4],))  # fmt: skip
    freeze(tmp_path, scores, comparisons=((names[5], names[6]),))
    build(tmp_path)
    numbers = json.loads((tmp_path / "data/numbers.json").read_text())["collected"]
    assert sorted(numbers["trained_arms"]) == sorted(names)
    assert {row["arm"] for row in numbers["means"]["rows"]} == {row["arm"] for row in numbers["arms"]} == set(names)
    text = squeezed(pdf_text(tmp_path / "paper.pdf"))
    # a known arm is explained, none of these is
    assert "•" + "•".join(numbers["trained_arms"]) + "Theyplay" in text
    assert f"scale{names[3]},scaffold{names[4]}" in text
    assert f"{names[5]}−{names[6]}" in text


@pytest.mark.slow
def test_two_hundred_names_of_models_are_in_the_pdf_exactly(tmp_path, make_scores):
    names = legal_names(200, seed=1)
    table = public_scores(make_scores, scales=(("8B", 8.0),), families=("A",))
    few = table[table["task_id"].str.endswith(("000", "001"))]
    extra = [
        few[few["arm"] == "general"].assign(model=f"org/{name}", unit=f"org/{name}@0", run_id=name, arm="other", pair=None)
        for name in names
    ]  # fmt: skip
    scores = pd.concat([few, *(part[part["benchmark"] == "terminal"] for part in extra)], ignore_index=True)
    freeze(tmp_path, scores, kind="released")
    build(tmp_path, kind="released")
    text = squeezed(pdf_text(tmp_path / "paper.pdf"))
    listed = [row["model"] for row in json.loads((tmp_path / "data/numbers.json").read_text())["collected"]["public"]]
    assert {f"org/{name}" for name in names} < set(listed)
    row = "{}0123456789abcdefother8B8B–AA/base"
    assert "".join(row.format(f"org/{name}") for name in sorted(names, key=lambda name: f"org/{name}@0")) in text


def test_two_hundred_illegal_names_in_frozen_data_are_one_clear_error_each(tmp_path, make_scores):
    rng = np.random.default_rng(2)
    wrong = [
        "",
        " ",
        "..",
        ".a",
        "_a",
        "-a",
        "+a",
        "a b",
        "a/b",
        "a\\b",
        "a\nb",
        "a\tb",
        "$a",
        "é",
        "中",
        "a" * 65,
        "a:b",
        "a,b",
    ]
    others = list(" /\\:,;*?<>|\"'$#@!%&()[]{}=~`^\té中")
    while len(wrong) < 200:
        letters = list(rng.choice(list(LETTERS), int(rng.integers(1, 20))))
        letters.insert(int(rng.integers(0, len(letters) + 1)), str(rng.choice(others)))
        wrong.append("".join(letters))
    scores = make_scores({"agent_sft": 0.4}, n_tasks=1, n_trials=1, n_runs=1, benchmarks=("calling",))
    for at, name in enumerate(wrong):
        with pytest.raises(AnalysisError, match=r"`x\.csv` has the name .*; a name has 1 to 64 of the characters"):
            require_names(["fine", name], Path("x.csv"), remedy="Freeze it again.", error=AnalysisError)
        if at < 20:
            freeze(tmp_path, scores.assign(**{("arm", "scale", "benchmark", "scaffold")[at % 4]: name}))
            with pytest.raises(
                AnalysisError, match=r"scores\.csv` has the name .*; a name has 1 to 64 of the characters"
            ):
                read_frozen("mine", tmp_path / "data")
    for index in ({"comparisons": (("a$", "b"),)}, {"domains": {"a b": "in"}}, {"levels": {"x": {"": (1,)}}}):
        freeze(tmp_path, scores, **index)
        with pytest.raises(AnalysisError, match=r"manifest\.json` has the name .* Rename it in conf/"):
            read_frozen("mine", tmp_path / "data")


def test_collected_study_cannot_have_the_name_of_an_output():
    for name in ("verdicts.json", "estimates.csv", "reanalysis"):
        with pytest.raises(AnalysisError, match=rf"cannot have the name `{re.escape(name)}`"):
            require_own_folder(name)
    require_own_folder("controlled")


def test_comparisons_whose_names_run_together_have_figures_of_their_own():
    pairs = [("a_b", "c"), ("a", "b_c"), ("a", "b"), ("a.b", "c")]
    assert len({forest.stem(*pair) for pair in pairs}) == len(pairs)
    (family,) = [output for output in OUTPUTS if "~" in output.path]
    assert all(family.matches(f"figures/{forest.stem(*pair)}.svg") for pair in pairs)


def test_dollar_signs_and_long_names_are_drawn_as_text_within_the_figure(tmp_path):
    names = ("$\\frac", "a$b$c", "x" * 64)
    table = pd.DataFrame(
        [(name, t, 0.01, -0.1, 0.1, 20, 1) for name in names for t in ("T1", "T2")],
        columns=["benchmark", "interval", "value", "low", "high", "n_tasks", "n_trials"],
    )
    figure = forest.draw_published(table, sesoi=0.03)
    path = save(figure, tmp_path / "one.svg")
    assert "<!-- $\\frac -->" in path.read_text()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert {label.replace("\n", "") for label in labels} == set(names)
    assert max(len(line) for label in labels for line in label.split("\n")) <= 24
    width = figure.axes[0].get_window_extent().width / figure.bbox.width
    assert width > 0.3
    runs = pd.DataFrame(
        {"arm": list(names), "scale": "s", "params_b": 1.0, "training_seed": 0, "flops": [1e12, 3e12, 1e13]}
    )
    ticks = compute.draw(runs).axes[0].xaxis.get_major_formatter()
    assert (ticks(1e12), ticks(3e12)) == ("10¹²", "3×10¹²")


def test_characters_that_no_font_has_are_named():
    assert missing_characters("plain, −, Ж, עברית, $") == ""
    assert missing_characters("中 and 中文\n") == "中 (U+4E2D), 文 (U+6587)"


def test_table_is_read_with_declared_types_and_only_an_empty_cell_is_missing(tmp_path):
    table = pd.DataFrame({"name": ["007", "NA", "true", "1e5", None], "value": [1.0, None, 3.0, 4.0, 5.0]})
    read = read_csv(write_csv(tmp_path / "t.csv", table), {"name": "object"})
    assert read["name"].tolist()[:4] == ["007", "NA", "true", "1e5"] and pd.isna(read["name"][4])
    assert read["value"].tolist()[2:] == [3.0, 4.0, 5.0] and read["value"].isna().tolist() == [
        False,
        True,
        False,
        False,
        False,
    ]
