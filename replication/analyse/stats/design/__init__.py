"""What a design costs and can detect, and rules for stopping; no results are read here."""
