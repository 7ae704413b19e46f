"""Training of organisms: corpora, objectives, one loop, ordinary Hugging Face checkpoints; playing and serving them does
not belong here."""
