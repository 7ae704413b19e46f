"""Tests and bands from resampled tasks, all columns by the same weights."""
