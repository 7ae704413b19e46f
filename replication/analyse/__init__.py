"""From the score table and published numbers to verdicts; needs no GPU, no network and nothing of `collect`."""
