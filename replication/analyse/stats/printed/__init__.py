"""Statistics of printed scores without a score per task; functions of scores per task belong in `estimates`."""
