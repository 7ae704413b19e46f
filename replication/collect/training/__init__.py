"""Training of organisms: corpora, objectives, one loop, ordinary Hugging Face checkpoints."""
