"""Resampling of tasks with shared weights, with tests and bands from the resamples; formula intervals are in `estimates`."""
