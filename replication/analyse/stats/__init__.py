"""Statistics as functions of arrays: they return an `Estimate` or a named tuple and read no files, tables or settings.

    estimates/    one mean, difference or ratio with its interval: paired differences for T1, T2, T3; pass
                  counts; sign flips; the Bayesian paired difference
    families/     several benchmarks, scales or hypotheses: random effects, trends, multiplicity, qualitative interaction
    two_studies/  an original against its replication: the criteria, and the tests behind them
    design/       power, variance components, the cheapest design, stopping rules
    printed/      printed scores without per-task data: standard errors, audit, fragility, digits, matched pairs
    checks        argument checks with uniform messages

Targets of inference: T1 these tasks and checkpoints (trial noise), T2 tasks like these (and these checkpoints), T3 the
training method (tasks, trials and training runs). Score arrays are (n_training_runs, n_trials, n_tasks) or a suffix of it;
`level` is the confidence level of an interval. Randomness enters as `rng`. Of this package only records and errors are
imported.
"""
