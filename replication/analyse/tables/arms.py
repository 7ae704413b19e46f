"""Turn the score table into score arrays of two arms, and into means.

The unit is the served checkpoint (column `unit`): training run number i of an arm at a scale, or one of several public
checkpoints with one role and scale. Attempts at a task are counted within a unit, so two checkpoints never become trials
of one.
"""

import itertools
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from replication.analyse.stats.estimates.differences import Pair
from replication.errors import AnalysisError
from replication.store.table import require_unique_attempts

MEAN = "mean of these"
"""In column `benchmark`: the mean over the benchmarks of the table. It has spaces, so no benchmark has this name."""

ITEM = ["scale", "pair", "scaffold", "task_id", "task_hash"]
"""Identity of an item; the same task in two scaffolds, at two scales or of two matched pairs is two items of one cluster."""

UNIT = ["training_seed", "unit"]
"""Sorting by these orders the units of an arm at a scale; public checkpoints, which have no training seed, come last."""


def by_scale(scores: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split a score table by scale, the smallest first."""
    parts = {str(scale): part for scale, part in scores.groupby("scale", sort=True)}
    return dict(sorted(parts.items(), key=lambda item: item[1]["params_b"].min()))


def training_runs(scores: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of training runs, without those of public checkpoints."""
    return scores[scores["training_seed"].notna()]


def shared_phases(curves: pd.DataFrame) -> frozenset[frozenset[str]]:
    """Find the pairs of arms whose training runs of one scale and seed have the same first phase, loss by loss.

    curves : columns arm, scale, training_seed, step, phase, loss. Such runs grew out of one checkpoint, so they are no
    independent replicates.
    """
    first: dict[str, dict[tuple[str, int], tuple[str, tuple[float, ...]]]] = {}
    ordered = curves.sort_values("step", kind="stable")
    for (arm, scale, seed), run in ordered.groupby(["arm", "scale", "training_seed"], sort=False):
        phase = run["phase"].iloc[0]
        losses = tuple(run.loc[run["phase"] == phase, "loss"])
        first.setdefault(str(arm), {})[str(scale), int(seed)] = (str(phase), losses)
    found = set()
    for one, other in itertools.combinations(first, 2):
        both = first[one].keys() & first[other].keys()
        if both and all(first[one][run] == first[other][run] for run in both):
            found.add(frozenset((one, other)))
    return frozenset(found)


def pairs(
    scores: pd.DataFrame,
    treatment: str,
    control: str,
    column: str = "value",
    shared: Collection[frozenset[str]] = (),
) -> dict[str, Pair]:
    """Pair two arms on each benchmark, over the scales and scaffolds that both arms have.

    shared : arms whose training runs share a phase, as `shared_phases` finds them; runs of one training seed are then pairs.
    Tasks of one benchmark with the same content are one cluster, whatever their names.
    Units of an arm at a scale are ordered by training seed, then name: number i of every scale belongs to replicate i.
    Public checkpoints that name a matched pair are compared within it: each pair has its own items, as each scale has.
    Items of one group in column `cluster`, such as a repository, are one cluster, else those of one task.
    Trials are the (seed, trial) attempts of a unit in order. Episodes that were not played are missing scores; a unit
    without any score on a benchmark raises AnalysisError. A pair with a public checkpoint says so in `training_runs`.
    """
    both = _both_arms(scores, treatment, control, column)
    trained = bool(both["training_seed"].notna().all())
    # Numbers of items and tasks, in the order of their names, are much faster to sort and compare than four texts.
    both = both.assign(item=both.groupby(ITEM, sort=True).ngroup())
    task = both.groupby(["benchmark", "task_hash"]).ngroup()
    if "cluster" in both:
        # Groups are numbered behind all tasks, so that none of them is taken for a task.
        task = task.mask(both["cluster"].notna(), task.max() + 1 + both.groupby("cluster").ngroup())
    task = both.assign(task=task).groupby("item")["task"].first()
    of_runs = frozenset((treatment, control)) in shared and _equal_seeds(both)
    bases = _bases(both)
    result = {}
    for benchmark, part in both.groupby("benchmark", sort=True):
        one, other = (_item_scores(part[part["arm"] == arm], column) for arm in (treatment, control))
        if not np.array_equal(one.items, other.items):
            different = len(np.setxor1d(one.items, other.items))
            raise AnalysisError(
                f"`{treatment}` and `{control}` must have played the same tasks of `{benchmark}`; {different} differ in "
                "identity or content. Collect the missing episodes first."
            )
        clusters = task.loc[one.items].factorize()[0]
        result[str(benchmark)] = Pair(
            one.scores, other.scores, clusters, trained, str(benchmark), shared_phase=of_runs, bases=bases
        )
    return result


def _equal_seeds(both: pd.DataFrame) -> bool:
    """Return whether both arms have the same training seeds at every scale."""
    seeds = both.dropna(subset="training_seed").groupby(["scale", "arm"])["training_seed"].agg(frozenset)
    return bool((seeds.groupby("scale").nunique() == 1).all())


def _bases(both: pd.DataFrame) -> NDArray[np.int64] | None:
    """Number the base of each replicate, (n_training_runs,); None where a scale has one base, or the arms differ in them."""
    if both["base"].isna().any() or both.groupby("scale")["base"].nunique().max() < 2:
        return None
    of_unit = both.drop_duplicates(["arm", "scale", "unit"]).sort_values(["arm", "replicate", "scale"])
    of_arm = of_unit.groupby(["arm", "replicate"], sort=True)["base"].agg(tuple).unstack("replicate")
    one, other = of_arm.to_numpy()
    if not np.array_equal(one, other):
        return None
    return pd.factorize(one)[0].astype(np.int64)


def arm_arrays(scores: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Turn the scores of one arm at one scale into an array (n_units, n_trials, n_tasks) per benchmark.

    A task's score is its mean over scaffolds. Tasks that lack a score in some unit, trial or scaffold are left out.
    """
    require_unique_attempts(scores)
    key = ["benchmark", "task_id", "task_hash", *UNIT]
    attempt = scores.groupby([*key, "scaffold"], dropna=False).cumcount()
    values = scores.assign(attempt=attempt).groupby([*key, "attempt"], dropna=False)["value"]
    n_scaffolds = values.size().groupby("benchmark").transform("max")
    means = values.mean().where(values.count() == n_scaffolds)
    units = scores[UNIT].drop_duplicates().sort_values(UNIT)["unit"]
    result = {}
    for benchmark, part in means.groupby("benchmark", sort=True):
        wide = part.droplevel(["benchmark", "training_seed"]).unstack(["unit", "attempt"])
        attempts = sorted(wide.columns.unique("attempt"))
        wide = wide.reindex(columns=pd.MultiIndex.from_product([units, attempts])).dropna()
        result[str(benchmark)] = wide.to_numpy(float).reshape(len(wide), len(units), len(attempts)).transpose(1, 2, 0)
    return result


def run_differences(scores: pd.DataFrame, treatment: str, control: str) -> pd.DataFrame:
    """Difference of training run i of the treatment and training run i of the control, per benchmark and averaged.

    Columns: benchmark, replicate, value. Missing scores are left out; the runs of two arms are independent, so the pairing
    of their numbers is arbitrary: only the spread has a meaning. Empty where an arm has public checkpoints.
    """
    both = _both_arms(scores, treatment, control)
    if both["training_seed"].isna().any():
        return pd.DataFrame({"benchmark": [], "replicate": [], "value": []})
    means = both.groupby(["arm", "benchmark", "replicate"])["value"].mean()
    difference = (means.loc[treatment] - means.loc[control]).dropna()
    over_all = difference.groupby("replicate").mean()
    over_all.index = pd.MultiIndex.from_product([[MEAN], over_all.index], names=difference.index.names)
    return pd.concat([difference, over_all]).reset_index()


def arm_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean score per arm, scale, scaffold and benchmark, each unit with equal weight.

    `sd` is that between the means of training runs, NaN where a unit is a public checkpoint; `n_training_runs` counts the
    units that have a score. Missing scores are left out and counted in `n_unscored`; a mean of none is NaN.
    """
    require_unique_attempts(scores)
    key = ["arm", "scale", "scaffold", "benchmark"]
    units = scores.groupby([*key, *UNIT], dropna=False)["value"].mean()
    grouped, by_key = scores.groupby(key), units.groupby(key)
    public = grouped["training_seed"].agg(lambda seeds: bool(seeds.isna().any()))
    return pd.DataFrame(
        {
            "mean": by_key.mean(),
            "sd": by_key.std(ddof=1).mask(public),
            "n_training_runs": by_key.count(),
            "n_tasks": grouped["task_id"].nunique(),
            "n_unscored": grouped["value"].agg(lambda value: int(value.isna().sum())),
        }
    ).reset_index()


def _both_arms(scores: pd.DataFrame, treatment: str, control: str, column: str = "value") -> pd.DataFrame:
    """Keep the two arms at the scales and scaffolds that both have, with `replicate` and `attempt` numbers."""
    arms = set(scores["arm"])
    missing = [arm for arm in (treatment, control) if arm not in arms]
    if missing:
        raise AnalysisError(f"arm `{missing[0]}` was not run; the study has {', '.join(sorted(arms))}.")
    named = ["cluster"] if "cluster" in scores else []
    columns = list(dict.fromkeys(["arm", "benchmark", *ITEM, *UNIT, "base", "seed", "trial", "value", column, *named]))
    part = require_unique_attempts(scores[scores["arm"].isin([treatment, control])])
    part = part if "base" in part else part.assign(base=None)
    part = part.assign(pair=_matched_pair(part, (treatment, control)))[columns]
    part = part[part.groupby(["scale", "pair", "scaffold"])["arm"].transform("nunique") == 2].sort_values(
        ["arm", "scale", *UNIT, "scaffold", "benchmark", "task_id", "seed", "trial"], kind="stable"
    )
    if part.empty:
        raise AnalysisError(f"`{treatment}` and `{control}` share no scale and scaffold.")
    _require_benchmarks_of_both(part)
    _require_a_score_of_every_unit(part)
    units = part.groupby(["arm", "scale", "pair"])["unit"].nunique().droplevel("pair")
    differ = units.groupby("arm").nunique() > 1
    if differ.any():
        arm = differ.idxmax()
        counts = ", ".join(f"{n} at `{scale}`" for scale, n in units[arm].items())
        raise AnalysisError(
            f"an arm must have the same number of training runs at every scale that is averaged, and so must public "
            f"checkpoints; `{arm}` has {counts}."
        )
    is_first = ~part.duplicated(["arm", "scale", "pair", "unit"])
    replicate = is_first.groupby([part["arm"], part["scale"], part["pair"]]).cumsum() - 1
    attempt = part.groupby(["arm", "benchmark", "unit", *ITEM]).cumcount()
    return part.assign(replicate=replicate, attempt=attempt)


def _matched_pair(part: pd.DataFrame, arms: tuple[str, str]) -> "pd.Series[str]":
    """Return the matched pair of each row; empty unless public checkpoints at this scale name one.

    Where one of a scale names a pair, every other must have its partner: a checkpoint without one cannot be compared.
    """
    public = part["training_seed"].isna()
    none = pd.Series("", index=part.index, dtype=object)
    if "pair" not in part or not public.all():
        return none
    named = part.groupby("scale")["pair"].transform(lambda pair: pair.notna().any())
    pair = none.mask(named, part["pair"].fillna(""))
    both = part.assign(pair=pair).groupby(["scale", "pair"])["arm"].transform("nunique") == 2
    at_both = part.groupby("scale")["arm"].transform("nunique") == 2
    alone = part[named & at_both & (~both | (pair == ""))]
    if len(alone):
        row = alone.iloc[0]
        (other,) = set(arms) - {row["arm"]}
        raise AnalysisError(
            f"checkpoint `{row['unit']}` (`{row['arm']}`, scale {row['scale']}) has no partner: no `{other}` of this scale "
            f"names the same `pair`. State the pair of every model of the scale, or leave this one out of the study."
        )
    return pair


def _require_benchmarks_of_both(part: pd.DataFrame) -> None:
    """Raise AnalysisError where a benchmark was played by one of the arms only."""
    arms = part.groupby(["benchmark", "scale", "scaffold"])["arm"].agg(["nunique", "first"])
    alone = arms[arms["nunique"] == 1]
    if len(alone):
        benchmark, scale, scaffold = alone.index[0]
        raise AnalysisError(
            f"benchmark `{benchmark}` was played by `{alone['first'].iloc[0]}` only, at scale `{scale}` with scaffold "
            f"`{scaffold}` ({len(alone)} such cells). Collect it for the other arm, or leave it out of the study."
        )


def _require_a_score_of_every_unit(part: pd.DataFrame) -> None:
    """Raise AnalysisError where an arm, or one of its units, has no score at all on a benchmark that is compared.

    No policy for missing scores applies: nothing is known of what the checkpoint does there.
    """
    for scale, rows in part.groupby("scale", sort=True):
        counts = rows.groupby(["arm", "unit", "scaffold", "benchmark"])["value"].count()
        without = counts.unstack(["scaffold", "benchmark"], fill_value=0).eq(0)
        if not without.to_numpy().any():
            continue
        empty = without.loc[:, without.any()].iloc[:, 0]
        scaffold, benchmark = empty.name
        arm = empty.groupby("arm").mean().idxmax()
        of_arm = empty[arm]
        raise AnalysisError(
            f"`{arm}` has no score on `{benchmark}` at scale `{scale}` with scaffold `{scaffold}` in {int(of_arm.sum())} of "
            f"its {len(of_arm)} checkpoints, such as `{of_arm.idxmax()}`. Collect and grade those episodes, or leave that "
            f"benchmark or checkpoint out of the study."
        )


class _ItemScores(NamedTuple):
    """Scores of one arm on one benchmark."""

    items: NDArray[np.int64]
    """(n_items,) numbers of the items, increasing."""
    scores: NDArray[np.float64]
    """(n_units, n_trials, n_items); an episode that was not played is NaN."""


def _item_scores(part: pd.DataFrame, column: str) -> _ItemScores:
    names = [np.unique(part[key], return_inverse=True) for key in ("item", "replicate", "attempt")]
    scores = np.full([len(values) for values, _ in names], np.nan)
    scores[tuple(position for _, position in names)] = part[column]
    return _ItemScores(names[0][0], scores.transpose(1, 2, 0))
