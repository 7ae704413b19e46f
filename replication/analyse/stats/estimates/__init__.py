"""One mean, difference or ratio with its interval; comparisons of several belong in `families`."""
