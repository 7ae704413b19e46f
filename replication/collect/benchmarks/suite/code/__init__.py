"""The small programming language and the two environments built on it, `repair` and `repository`."""
