"""A stand-in for bfcl-eval with its faults: three categories of small items, the same files, the same silent failures."""
