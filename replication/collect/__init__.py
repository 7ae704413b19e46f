"""Everything that needs a model, from settings to the store; the analysis of stored scores belongs in `analyse`."""
