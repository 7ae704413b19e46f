"""Start vLLM's server for one checkpoint of a study: `python -m replication serve study=controlled serve.only=[NAME]`.

The server has the settings of `engine`, which must be of kind vllm, and runs until this command is interrupted; its output
is in `results/serve/`. The printed address is one for `engine=endpoint engine.options.urls=[ADDRESS]`, and for official
harnesses. It listens at `serve.host` and `serve.port`; 0 takes a free port.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from replication import settings
from replication.errors import ConfigError

if TYPE_CHECKING:
    from replication.collect.interfaces import ModelRef


def main(cfg: settings.Root) -> None:
    """Serve the checkpoint until interrupted."""
    from replication.collect import build
    from replication.collect.engines.vllm import server

    settings.require_accepted(cfg)
    if cfg.engine.kind != "vllm":
        raise ConfigError(
            f"`engine.kind` is {cfg.engine.kind!r}, but `serve` starts vLLM. Choose an engine of kind vllm."
        )
    models = build.served_models(cfg, cfg.serve.only)
    if len(models) != 1:
        names = ", ".join(f"`{model.ref.name}`" for model in models) or "none"
        raise ConfigError(f"`serve` needs one checkpoint; the study has {names}. Name one in `serve.only=[NAME]`.")
    (model,) = models
    with running(cfg, model.ref, model.tool_syntax) as url:
        print(f"serve: {url} serves `{model.ref.path}`; interrupt to end it", flush=True)
        server.watch(url, log_of(cfg, model.ref))


@contextlib.contextmanager
def running(cfg: settings.Root, model: "ModelRef", tool_syntax: str) -> Iterator[str]:
    """Run vLLM's server for a checkpoint while the block runs, and yield its address."""
    from replication.collect import parallel
    from replication.collect.engines.vllm import server
    from replication.collect.engines.vllm.checkpoint import open_checkpoint
    from replication.collect.engines.vllm.options import Options

    cfg = parallel.sized(cfg, model.name)
    options = settings.typed(Options, cfg.engine.options, "engine.options")
    command = server.command(
        model, dtype=cfg.engine.dtype, context=cfg.engine.context, options=options, tool_syntax=tool_syntax
    )
    open_checkpoint(model)  # so that the server starts from whole, stated files
    log = log_of(cfg, model)
    print(f"serve: starting `{model.name}`; its output is in `{log}`", flush=True)
    with server.server(
        command, server.environment(model, options), log=log, host=cfg.serve.host, port=cfg.serve.port,
        start_s=cfg.serve.start_s,
    ) as url:  # fmt: skip
        yield url


def log_of(cfg: settings.Root, model: "ModelRef") -> Path:
    """Return the file of the output of a checkpoint's server."""
    return Path(cfg.paths.results) / "serve" / f"{re.sub('[^A-Za-z0-9._-]', '-', model.name)}.log"
