"""Statistics of printed scores without a score per task; what needs scores per task belongs in `estimates`."""
