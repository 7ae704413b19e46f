"""One module per command of `python -m replication`; parses, calls, prints. The only code that may import both halves."""
