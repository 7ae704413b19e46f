"""Other methods agree with the t interval where it is sound, and say so where they do not apply."""

import numpy as np
import pytest

from replication.analyse.tables.second_opinions import table


def test_methods_agree_on_many_tasks_with_a_clear_difference(make_scores):
    scores = make_scores({"a": 0.4, "b": 0.6}, n_tasks=120)
    opinions = table(scores, "b", "a", level=0.95, rng=np.random.default_rng(0))
    assert list(opinions["benchmark"]) == ["calling", "terminal"]
    assert (opinions["p_sign_flip"] < 0.001).all() and (opinions["p_two_sided"] < 0.001).all()
    assert opinions["bayes_low"].to_numpy() == pytest.approx(opinions["low"].to_numpy(), abs=0.02)
    assert opinions["bayes_high"].to_numpy() == pytest.approx(opinions["high"].to_numpy(), abs=0.02)
    assert not opinions["widths_differ"].any()


def test_randomisation_test_agrees_with_t_where_nothing_differs(make_scores):
    opinions = table(make_scores({"a": 0.5, "b": 0.5}), "b", "a", level=0.95, rng=np.random.default_rng(0))
    assert opinions["p_sign_flip"].to_numpy() == pytest.approx(opinions["p_two_sided"].to_numpy(), abs=0.08)


def test_scores_that_are_not_pass_or_fail_have_no_bayesian_interval(make_scores):
    scores = make_scores({"a": 0.4, "b": 0.6})
    opinions = table(scores.assign(value=scores["value"] * 0.7), "b", "a", level=0.95, rng=np.random.default_rng(0))
    assert opinions["bayes_low"].isna().all() and opinions["widths_differ"].isna().all()


def test_tasks_with_a_missing_score_are_left_out(make_scores):
    scores = make_scores({"a": 0.4, "b": 0.6})
    scores.loc[scores["task_id"] == "calling/evaluation/1/000", "value"] = np.nan
    opinions = table(scores, "b", "a", level=0.95, rng=np.random.default_rng(0)).set_index("benchmark")
    assert opinions["n_tasks"].to_dict() == {"calling": 39, "terminal": 40}


def test_equal_seeds_give_equal_opinions_and_other_seeds_do_not(make_scores):
    scores = make_scores({"a": 0.45, "b": 0.5})
    first, again, other = (table(scores, "b", "a", level=0.95, rng=np.random.default_rng(s)) for s in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)
