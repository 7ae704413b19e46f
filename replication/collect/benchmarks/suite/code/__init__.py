"""The small language, and the environments built on it; environments with other tools belong in the folder above."""
