"""Point estimates with intervals: a mean, difference or ratio on one set of tasks; several at once are in `families`."""
