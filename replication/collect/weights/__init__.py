"""Sources of weights: from what conf/model names to a folder or a commit that an engine serves."""
