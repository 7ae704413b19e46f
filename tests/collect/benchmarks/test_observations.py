"""Exact match and token F1 of predicted observations, against values by hand."""

import pytest

from replication.collect.benchmarks.observations import exact, token_f1


@pytest.mark.parametrize(
    ("predicted", "observed", "value"),
    [
        ("ok", "ok", 1.0),
        (" ok\n", "ok", 1.0),
        ("", "", 1.0),
        ("a  b", "a b", 0.0),
        ("OK", "ok", 0.0),
        ("a\nb", "a b", 0.0),
        ("", "ok", 0.0),
    ],
)
def test_exact_compares_texts_up_to_whitespace_at_both_ends(predicted, observed, value):
    assert exact(predicted, observed) == value


@pytest.mark.parametrize(
    ("predicted", "observed", "value"),
    [
        ("notes.txt: kavo code 482", "notes.txt: kavo code 482", 1.0),
        ("code kavo", "kavo\n code", 1.0),  # order and kind of whitespace do not count
        ("a b", "c d", 0.0),
        ("a b c d", "a b", 2 * (2 / 4) * 1 / (2 / 4 + 1)),  # precision 1/2, recall 1
        ("a", "a b c", 2 * 1 * (1 / 3) / (1 + 1 / 3)),  # precision 1, recall 1/3
        ("a a a a", "a b", 2 * (1 / 4) * (1 / 2) / (1 / 4 + 1 / 2)),  # a repeated token counts once
        ("a a b", "a a a", 2 / 3),
        ("", "", 1.0),
        (" \n", "", 1.0),
        ("", "a", 0.0),
        ("a", "", 0.0),
    ],
)
def test_token_f1_is_the_harmonic_mean_of_precision_and_recall(predicted, observed, value):
    assert token_f1(predicted, observed) == pytest.approx(value, abs=1e-12)
    assert token_f1(observed, predicted) == token_f1(predicted, observed)


@pytest.mark.parametrize("predicted", ["x" * 1_000_000, "a " * 500_000, " \n" * 500_000, "\x00\ud800 " * 300_000])
def test_megabytes_of_text_are_measured_like_any_text(predicted):
    assert exact(predicted, predicted) == token_f1(predicted, predicted) == 1.0
    assert exact(predicted, "ok") == 0.0
    assert 0.0 <= token_f1(predicted, "a b") < 0.01
