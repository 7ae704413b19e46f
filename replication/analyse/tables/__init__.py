"""Score table in, tables of estimates out; the formulas themselves belong in `stats`."""
