"""How well an observation was predicted: one pair of measures for the reward of training and for the probe."""

from collections import Counter


def exact(said: str, wanted: str) -> float:
    """Give 1 where the texts are equal but for whitespace at the ends, else 0."""
    return float(said.strip() == wanted.strip())


def token_f1(said: str, wanted: str) -> float:
    """Give the harmonic mean of precision and recall of whitespace-separated tokens, each as often as it stands.

    The order of the tokens does not count. Two texts without tokens agree wholly, one without tokens not at all.
    """
    ours, theirs = said.split(), wanted.split()
    if not ours and not theirs:
        return 1.0
    return 2 * (Counter(ours) & Counter(theirs)).total() / (len(ours) + len(theirs))
