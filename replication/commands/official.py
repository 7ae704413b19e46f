"""Run the official harnesses of a study: `python -m replication official study=mystudy`, a stage of `replicate`.

Each entry of `ingest` that names no server of its own is played against that of the study's engine: with kind vllm against
vLLM's server, started once for each checkpoint that has something to play; with kind endpoint against the first of its
addresses. Entries with results from elsewhere are stored as `ingest` does. Existing results are
kept, items whose request failed run again, and the index of the study is written at the end.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from replication import settings
from replication.errors import ConfigError

if TYPE_CHECKING:
    from replication.collect.ingest import HarnessJob
    from replication.collect.interfaces import Endpoint


def main(cfg: settings.Root) -> None:
    """Play, check and store every run of an official harness, then write the index."""
    if not cfg.ingest:
        print("official: this study has no official harness")
        return
    from replication.collect import build, serve
    from replication.commands import gather

    settings.require_accepted(cfg)
    jobs = build.harness_jobs(cfg, cfg.serve.only)
    # The checkpoint of one server after the other: sorted, so that each starts once.
    jobs.sort(key=lambda job: job.run.model.name)
    for _, of_model in itertools.groupby(jobs, key=lambda job: job.run.model.name):
        _play(cfg, list(of_model))
    if cfg.serve.only:
        print("official: the index is written by `python -m replication gather` when all checkpoints are played")
    else:
        serve.store_of(cfg)
        gather.main(cfg)


def _play(cfg: settings.Root, jobs: "list[HarnessJob]") -> None:
    """Play the runs of one checkpoint; no server is started if nothing is missing."""
    from replication.collect.ingest import ingest, is_served
    from replication.collect.interfaces import DescribedHarness
    from replication.collect.serve import store_of

    pending = []
    for job in jobs:
        if is_served(job.harness):
            job.harness.prepare(job.run)
            pending.append(job.harness.pending(job.run))
    with _endpoint(cfg, jobs[0]) if any(pending) else contextlib.nullcontext() as endpoint:
        for job in jobs:
            run = dataclasses.replace(job.run, endpoint=endpoint)
            counts = ingest(store_of(cfg), dataclasses.replace(job, run=run))
            print(f"official: `{run.spec.run_id}`: {counts.n_added} results added, {counts.n_unscored} without a score")
            for text in (
                job.harness.facts(run).get("deviations", []) if isinstance(job.harness, DescribedHarness) else []
            ):
                print(f"official:   deviation: {text}")


@contextlib.contextmanager
def _endpoint(cfg: settings.Root, job: "HarnessJob") -> "Iterator[Endpoint]":
    from replication.collect.engines.endpoint.options import Options
    from replication.collect.interfaces import Endpoint
    from replication.commands import serve

    model = job.run.model
    if cfg.engine.kind == "vllm":
        with serve.running(cfg, model, job.tool_syntax) as url:
            yield Endpoint(url=url, served=model.path)
    elif cfg.engine.kind == "endpoint":
        options = settings.typed(Options, cfg.engine.options, "engine.options")
        yield Endpoint(
            url=options.urls[0].rstrip("/"), served=options.model or model.path, api_key_env=options.api_key_env
        )
    else:
        raise ConfigError(
            f"`engine.kind` is {cfg.engine.kind!r}; an official harness needs a server: choose an engine of kind vllm or "
            f"endpoint."
        )
