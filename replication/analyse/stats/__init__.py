"""Statistics: arrays in, `Estimate` or a named tuple out; one responsibility per module.

Estimates and intervals
    intervals       value, standard error, degrees of freedom -> Estimate
    differences     score arrays of two arms -> paired difference for T1, T2 or T3
    ratios          cost and score arrays of two arms -> ratio of cost per solved task
    clustered       scores of one arm -> mean whose error knows which items belong together
    proportions     pass counts -> Wilson, Newcombe, exact; McNemar; two Betas
    paired_bayes    pass counts of two arms on few tasks -> posterior of their difference
    pass_at_k       scores over trials -> pass@k and pass^k
    judge           labels and judge scores -> prediction-powered mean
Tests without a distribution
    resampling      one weight matrix for all columns: multinomial, Poisson, crossed
    max_t           resamples -> max-T, Romano-Wolf, simultaneous bands
    randomisation   sign flips; wild cluster bootstrap
Several benchmarks, scales, families
    meta            differences on several benchmarks -> random-effects mean
    multiplicity    p-values or e-values of a family
    ranks           scores over data sets -> Friedman, Nemenyi, Wilcoxon
    profiles        scores over runs -> performance profile, IQM, probability of improvement
    heterogeneity   differences of both signs over groups
    trend           gaps over scales -> slope, simultaneous band, monotone trend
One study against another
    criteria        original and replication -> every replication criterion
    sceptical, telescopes, bayes_factors, two_studies, equivalence, design_analysis: what `criteria` is made of
Design and monitoring
    power           what a design could have detected
    components      score arrays -> variance by task, training run, trial, scaffold
    dstudy          variances and costs -> cheapest design
    sequential      scores as they come -> e-values and confidence sequences
    monitor         stopping rule after each block of tasks
Published numbers
    published       printed percentages -> standard errors under the audit model
    audit           a table of published scores, row by row and as a family
    fragility       what that depends on and is not printed
    grim            printed digits -> whole counts
    matched         pairs of models that others measured
From the score table
    arms            score table -> score arrays and means
    summaries       tables of estimates for figures and files
    second_opinions each difference by other methods, where tasks are few
    seeds           spread between training runs
    probe           correlation of world model and agent over training runs
    aa              how often an arm differs from itself

Targets of inference: T1 these tasks and checkpoints (trial noise), T2 tasks like these (and these checkpoints), T3 the
training method (tasks, trials and training runs). Score arrays are (n_training_runs, n_trials, n_tasks). Nothing of ours
but records and errors is imported.
"""
