"""Independent replication of "Qwen-AgentWorld" (arXiv 2606.24597) and of the press story about it.

The pipeline, top to bottom; each stage reads only the output of earlier stages:

    conf/claim           claims, each with its source and decision rule           analyse/claims.py
    analyse/evidence/    published numbers, each with its source                  evidence/reading.py
    collect/training/    organisms: small models that differ only in training     commands/train.py
    collect/engines/     vLLM turns requests into text                            collect/build.py
    collect/episodes.py  scaffold x environment: one attempt at one task          commands/run.py
    store/               every episode and score, then frozen as paper/data       store/store.py, store/frozen.py
    analyse/tables/      score table in, estimates out                            analyse/stats/
    analyse/verdicts.py  claim x estimates -> replicated or not, with the scope   analyse/rules/
    publish/             figures, tables, numbers -> paper.pdf                    commands/paper.py

`collect` needs models and ends at the store; `analyse` starts there; they never import each other. Importing this package
imports nothing heavy: torch, vllm, transformers and wandb are imported by the functions that use them.
"""

__version__ = "0.1.0"
