"""Several benchmarks, scales or hypotheses at once: pooling, trends, multiplicity; single differences are in `estimates`."""
