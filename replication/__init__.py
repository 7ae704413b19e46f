"""Independent replication of "Qwen-AgentWorld" (arXiv 2606.24597) and of the press story about it.

The pipeline, left to right; each stage reads only what the one before has written:

    claims      published claims, each with source and decision rule      conf/claim/, analyse/claims.py
    training    organisms: small models that differ only in training      collect/training/
    engines     vLLM turns requests into text                             collect/engines/, serve.py
    episodes    scaffold x environment, one attempt at one task           collect/episodes.py, runner.py
    store       every episode and score; the waist of the package         store/
    evidence    published numbers, each with its source                   analyse/evidence/
    estimates   score table and published numbers in, intervals out       analyse/tables/, stats/
    verdicts    replicated or not, and for which scope                    analyse/rules/, verdicts.py
    paper       figures, tables, numbers -> paper.pdf                     publish/

Collecting (above the store) and analysing (below it) never import each other. Importing this package
imports nothing heavy: torch, vllm, transformers and wandb are imported by the functions that use them.
"""

__version__ = "0.1.0"
