"""Statistics: arrays in, `Estimate` out; one responsibility per module, nothing of ours but records and errors.

    intervals     value, standard error, degrees of freedom -> Estimate
    differences   score arrays of two arms -> paired difference for T1, T2 or T3
    ratios        cost and score arrays of two arms -> ratio of cost per solved task
    arms          score table -> score arrays and means
    published     printed percentages -> standard errors under the audit model
    audit         a table of published scores, row by row and as a family
    meta          differences on several benchmarks -> random-effects mean
    seeds         score table -> spread between training runs
    probe         probe table and score table -> correlation over training runs
    aa            score arrays of one arm -> how often it differs from itself
    multiplicity  p-values of a family
    equivalence   is an effect smaller than the smallest effect of interest
    power         what a design could have detected

Targets of inference: T1 these tasks and checkpoints (trial noise), T2 tasks like these (and these checkpoints), T3 the
training method (tasks, trials and training runs). Score arrays are (n_training_runs, n_trials, n_tasks).
"""
