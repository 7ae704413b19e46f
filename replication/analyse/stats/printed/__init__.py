"""Statistics of printed scores, where no score per task is known: the audit of a published table."""
