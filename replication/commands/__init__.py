"""One module per command of `python -m replication`, the only code that imports both halves; parses arguments, calls and
prints, while playing, statistics and drawing belong to the other parts."""
