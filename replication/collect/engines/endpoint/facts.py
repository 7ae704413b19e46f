"""What a server states of itself: the checks of its model before a run, and the manifest's entry."""

import dataclasses
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from replication.collect.engines.endpoint.http import Client, one_line
from replication.collect.engines.endpoint.options import Options
from replication.collect.engines.endpoint.wire import Failure, parse, refused
from replication.collect.interfaces import ModelRef
from replication.errors import EngineError
from replication.records import Json

_SNAPSHOT = re.compile("/snapshots/([0-9a-f]{40})/*$")
"""End of a folder of the hub's cache, which names the commit."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """A server's statements; None where it makes none. They prove nothing: its weights cannot be hashed from here."""

    model: str
    """Name in its list of models."""
    root: str | None
    """Path or hub id that it was started with."""
    max_model_len: int | None
    version: str | None
    """Of vLLM."""


async def ask(client: Client, url: str, model: ModelRef, *, name: str, context: int) -> Facts:
    """Ask a server what it serves. Raises Failure if it does not answer, EngineError if it is not this model."""
    answer = await client.get(f"{url}/models")
    if answer.status in (404, 405):  # no list: the name in every reply is checked all the same
        return Facts(model=name, root=None, max_model_len=None, version=None)
    if answer.status != 200:
        problem = refused(answer)
        if isinstance(problem, Failure):
            raise problem
        raise EngineError(f"`{url}` refused to list its models: {one_line(str(problem))}.")
    listed = parse(answer.data).get("data")
    entries = [m for m in listed if isinstance(m, dict)] if isinstance(listed, list) else []
    found = next((m for m in entries if m.get("id") == name), None)
    if found is None:
        names = one_line(", ".join(f"`{m.get('id')}`" for m in entries[:20])) or "no model"
        raise EngineError(
            f"`{url}` does not serve `{name}`, the checkpoint of `{model.name}`; it serves {names}. Serve it there, or name "
            f"it as the server does in `engine.options.model`; `serve.only` selects the checkpoints of a study."
        )
    facts = Facts(
        model=name, root=_text(found.get("root")), max_model_len=_count(found.get("max_model_len")),
        version=await _version(client, url),
    )  # fmt: skip
    _check(facts, url, model, context)
    return facts


def difference(first: Facts, second: Facts) -> str:
    """Name the first statement in which two servers differ."""
    a, b = dataclasses.asdict(first), dataclasses.asdict(second)
    key = next(key for key in a if a[key] != b[key])
    return f"`{key}` is {a[key]!r} and {b[key]!r}"


def description(
    facts: Facts, fingerprint: str | None, urls: Sequence[str], options: Options, *, dtype: str, context: int
) -> dict[str, Json]:
    """Return the manifest's entry.

    fingerprint : of the server's set-up, as its reply to the preflight has it.
    """
    import aiohttp

    settings = dataclasses.asdict(options)
    del settings["urls"], settings["api_key_env"]
    return {
        "engine": "endpoint",
        "version": facts.version or "not stated",
        "client": f"aiohttp {aiohttp.__version__}",
        "hosts": sorted({urlsplit(url).hostname or "" for url in urls}),
        "n_servers": len(urls),
        "has_key": options.api_key_env is not None,
        "stated": {**dataclasses.asdict(facts), "fingerprint": fingerprint},
        "settings": {"dtype": dtype, "context": context, **settings},
    }


async def _version(client: Client, url: str) -> str | None:
    try:
        answer = await client.get(f"{url.removesuffix('/v1')}/version")
        return _text(parse(answer.data).get("version")) if answer.status == 200 else None
    except Failure:
        return None


def _check(facts: Facts, url: str, model: ModelRef, context: int) -> None:
    if facts.max_model_len is not None and facts.max_model_len != context:
        raise EngineError(
            f"`{url}` has a context of {facts.max_model_len} tokens, but `engine.context`, a part of a run's identity, is "
            f"{context}. Set `engine.context={facts.max_model_len}`, or start the server with that length."
        )
    snapshot = _SNAPSHOT.search(facts.root or "")
    if snapshot and model.files_sha256 is None and not snapshot[1].startswith(model.revision):
        raise EngineError(
            f"`{url}` serves commit {snapshot[1]} of `{facts.model}`, but the revision of `{model.name}` is "
            f"{model.revision}. Serve that commit, or correct the revision in conf/model."
        )


def _text(value: Json) -> str | None:
    return one_line(value) if isinstance(value, str) else None


def _count(value: Json) -> int | None:
    return value if isinstance(value, int) else None
