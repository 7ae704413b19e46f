"""Cost and precision of a study before it is run; reads settings, counts and frozen data, prints nothing."""
