"""Designs before results: power, variance components, cost, stopping rules; no estimates of differences."""
