"""Sweeps: a study as a manifest with one line per checkpoint, run on this machine, by SLURM, by Ray or by hand.

A line may be run twice or again after any failure: finished training runs and episodes are kept. What is missing is read
from the store; the state of a job is only ever shown.
"""
