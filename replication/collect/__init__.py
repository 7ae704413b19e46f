"""Everything that needs a model, from settings to the store; what reads scores back belongs in `analyse`."""
