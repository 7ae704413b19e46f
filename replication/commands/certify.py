"""Certify that stored episodes do not depend on the batch: `python -m replication certify study=controlled`.

Replays a drawn part of the study's runs at other concurrency (`certify.concurrency`), in another order and with another
batch (`certify.max_num_seqs`), and where wished with other settings, such as
`certify.options={batch_invariant: true}`. Reports the first diverging turn of each episode, the share of diverging
episodes, and the rate of flipped scores with an exact (Clopper-Pearson) interval, which takes episodes as independent.
Replayed episodes enter no store; the result is `certificate.json` in outputs/<study>, or in `paths.paper`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from replication import settings
from replication.errors import ConfigError
from replication.text import percent

if TYPE_CHECKING:
    from replication.collect.certificate import Certificate
    from replication.records import Json


def main(cfg: settings.Root) -> None:
    """Replay, write the certificate and print its summary."""
    import numpy as np

    from replication.collect import certificate, serve
    from replication.files import write_json

    work = serve.assignments(cfg, cfg.serve.only)
    if not work:
        raise ConfigError(f"study `{cfg.study.name}` serves no model, so it has no episodes. Choose another study.")
    found = certificate.replay(cfg, work, np.random.default_rng(cfg.certify.seed))
    summary = summarize(found, cfg.certify.level)
    folder = Path(cfg.paths.paper) if cfg.paths.paper else Path("outputs") / cfg.study.name
    path = write_json(
        folder / "certificate.json",
        {
            "study": cfg.study.name, "settings": dataclasses.asdict(cfg.certify), "summary": summary,
            "stored_concurrency": cfg.engine.concurrency, "changes": found.changes, "engine": dict(found.engine),
            "episodes": [dataclasses.asdict(one) for one in found.episodes],
        },
    )  # fmt: skip
    print("\n".join(report(cfg, found, summary)))
    print(f"certify: {path}")


def summarize(found: Certificate, level: float) -> dict[str, Json]:
    """Return counts, and the shares of diverging and flipping episodes with exact intervals; None without an episode."""
    from replication.analyse.stats.estimates.proportions import clopper_pearson

    counts = found.counts()
    shares: dict[str, Json] = {}
    for name, part, whole in (("diverged", "n_diverged", "n_episodes"), ("flipped", "n_flipped", "n_scored")):
        x, n = counts[part], counts[whole]
        limits = clopper_pearson(x, n, level=level) if n else None
        shares[name] = None if limits is None else {"share": x / n, "low": limits.low, "high": limits.high}
    return {**counts, "level": level, **shares}


def report(cfg: settings.Root, found: Certificate, summary: dict[str, Json]) -> list[str]:
    """Write the result for one screen."""
    n, runs = summary["n_episodes"], len({one.run_id for one in found.episodes})
    lines = [
        f"certify: {n} episodes of {runs} runs replayed at concurrency {cfg.certify.concurrency} (stored at "
        f"{cfg.engine.concurrency}), in another order",
        *(f"certify: changed {change}" for change in found.changes),
    ]
    for name, whole, title in (
        ("diverged", "n_episodes", "texts that diverge"),
        ("flipped", "n_scored", "scores that flip"),
    ):
        share = summary[name]
        if share is not None:
            lines.append(
                f"certify: {title}: {summary[f'n_{name}']} of {summary[whole]}, {percent(share['share'])} % "
                f"[{percent(share['low'])}, {percent(share['high'])}] ({percent(summary['level'], 0)} % exact interval)"
            )
    if summary["first_diverging_turns"]:
        turns = ", ".join(f"turn {turn}: {n}" for turn, n in summary["first_diverging_turns"].items())
        lines.append(f"certify: first diverging turn: {turns}")
    if summary["n_failed"]:
        lines.append(f"certify: WARNING, {summary['n_failed']} episodes failed in the replay and count nowhere")
    return lines
