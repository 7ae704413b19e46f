"""Accuracy of a predicted observation: the two measures of training's reward and of the probe."""

from collections import Counter


def exact(predicted: str, observed: str) -> float:
    """Return 1 if the texts are equal up to whitespace at both ends, else 0."""
    return float(predicted.strip() == observed.strip())


def token_f1(predicted: str, observed: str) -> float:
    """Return the harmonic mean of precision and recall of whitespace-separated tokens, counted with multiplicity.

    The order of the tokens is ignored. Two texts without tokens score 1; a text without tokens scores 0 against any other.
    """
    ours, theirs = predicted.split(), observed.split()
    if not ours and not theirs:
        return 1.0
    return 2 * (Counter(ours) & Counter(theirs)).total() / (len(ours) + len(theirs))
