# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Look at a study
# Displays the frozen data and the results of `python -m replication paper`; computes no estimate.

# %%
from pathlib import Path

from IPython.display import display

from replication.analyse.evidence import load_scores
from replication.files import read_csv
from replication.publish.figures import compute, curves, forest, probe, scales
from replication.publish.readme import read_verdicts
from replication.publish.verdict_tables import verdict_text
from replication.store.frozen import read_frozen

DATA = Path("paper/data") if Path("paper/data").exists() else Path("../paper/data")
STUDIES = sorted(path.parent.name for path in DATA.glob("*/scores.csv"))
SESOI = 0.03
TEXT = dict.fromkeys(
    ("arm", "treatment", "control", "scale", "benchmark", "unit", "domain", "policy", "interval", "method", "target"),
    "object",
)
"""Columns that hold text; a name such as 007 or NA stays as it is."""

# %% [markdown]
# ## Verdicts

# %%
print(verdict_text(read_verdicts(DATA / "verdicts.json")))

# %% [markdown]
# ## Published scores, as printed, and their intervals

# %%
load_scores()[["arm", "benchmark", "metric", "value_percent", "n_tasks", "runs", "source", "note"]]

# %%
forest.draw_published(read_csv(DATA / "published.csv", TEXT), SESOI)

# %% [markdown]
# ## Frozen studies

# %%
for study in STUDIES:
    frozen = read_frozen(study, DATA)
    display(frozen.scores.head(), frozen.training)
    if len(frozen.training):
        display(curves.draw(frozen.curves), compute.draw(frozen.training))

# %% [markdown]
# ## Estimates of the study built last

# %%
if (DATA / "estimates.csv").exists():
    estimates = read_csv(DATA / "estimates.csv", TEXT)
    display(estimates)
    single = estimates[(estimates["scale"] != "all scales") & (estimates["policy"] == "exclude")]
    if len(single):
        display(scales.draw(single, SESOI))

# %%
for name in ("aa", "spread"):
    if (DATA / f"{name}.csv").exists():
        display(read_csv(DATA / f"{name}.csv", TEXT))

# %%
if (DATA / "probe_runs.csv").exists():
    display(probe.draw(read_csv(DATA / "probe_runs.csv", TEXT)))
