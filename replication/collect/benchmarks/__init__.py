"""Benchmarks: `suite` generates its tasks here, `official` drives the published harnesses."""
