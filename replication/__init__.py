"""Independent replication of "Qwen-AgentWorld" (arXiv 2606.24597) and of the press story about it.

The pipeline, left to right; each stage reads only what the one before has written:

    conf/claim    what was claimed, with source and decision rule          claims.py
    evidence/     published numbers, each with its source                  evidence/
    training/     organisms: small models that differ only in training     train.py
    engines/      vLLM turns requests into text                            run.py
    episodes      scaffold x environment, one attempt at one task          episodes.py, runner.py
    store         every episode and score; the waist of the package        store.py
    stats         arrays in, estimates out                                 stats/
    verdicts      claim x score table -> replicated or not, and for whom   verdicts.py
    paper         figures, tables, numbers -> paper.pdf                    paper.py

Collecting (above the store) and analysing (below it) never import each other. Importing this package
imports nothing heavy: torch, vllm, transformers and wandb are imported by the functions that use them.
"""

__version__ = "0.1.0"
