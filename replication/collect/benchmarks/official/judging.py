"""Judges and simulated users of official harnesses: any OpenAI-compatible endpoint that conf/ names, behind a gateway.

A harness reaches them through the gateway only: it never sees a key, and a model that it asks for under a fixed name is
the one that conf/ states. Who judges is `options.judge`, part of the grader; where it answers is `options.judging`.
"""

import contextlib
import json
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from replication.collect.benchmarks.official import regrade_driver, sandbox, serving
from replication.collect.benchmarks.official.launching import Command
from replication.collect.interfaces import HarnessRun
from replication.errors import HarnessError
from replication.files import write_json
from replication.records import Json
from replication.settings.limits import limited, located, one_of, whole

if TYPE_CHECKING:
    from aiohttp import ClientSession, web

RECORD = "judge.json"
"""In a run's folder: what was asked of judge and simulated user."""


@dataclass
class Service:
    """An OpenAI-compatible endpoint; nothing of it can change a score but who answers, which the adapter states."""

    url: str | None = limited(None)  # up to /v1; null: there is none
    served: str | None = limited(None)  # name of the model there; null: the one that the adapter states
    key_env: str | None = limited(None)  # environment variable with the key; null: it needs none


@dataclass
class Judging(Service):
    """Settings `options.judging`: where the judge answers, and outputs that are judged without being played again."""

    outputs: str | None = located(None)  # folder of a finished run, whose answers are judged again; null: own ones
    attempts: int = whole(1, 100, 3)  # at one judgement, before it has failed and the attempt has no score
    sandbox: str = one_of(sandbox.KINDS, "auto")  # of graders that run in process and read what a model wrote


class Target(NamedTuple):
    """A service, the model that a harness asks it for, and the place of its settings, for messages."""

    service: Service
    model: str
    key: str


@dataclass
class Asked:
    """Counts of one gateway."""

    n_requests: dict[str, int] = field(default_factory=dict)
    """By the name that the harness asked for."""
    n_failed: dict[str, int] = field(default_factory=dict)


def check(target: Target) -> None:
    """Raise HarnessError unless the service is named, its key is set, and it completes a short request."""
    if target.service.url is None:
        raise HarnessError(
            f"`{target.key}.url` is null, so there is no endpoint that serves `{target.model}`. Name an OpenAI-compatible "
            f"one, and its key by `{target.key}.key_env`; or put graded results into the folder."
        )
    body: dict[str, Json] = {
        "model": target.service.served or target.model,
        "messages": [{"role": "user", "content": "Hi"}],
    }
    body["max_tokens"] = 16  # a judge that thinks would take its time
    headers = {"Content-Type": "application/json", **_authorization(target)}
    request = urllib.request.Request(_url(target), data=json.dumps(body).encode(), headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({})) if _is_local(target) else None
    try:
        with opener.open(request, timeout=120) if opener else urllib.request.urlopen(request, timeout=120) as answer:
            if not json.loads(answer.read())["choices"]:
                raise ValueError("a completion without choices")
    except (OSError, ValueError, KeyError, TypeError) as error:
        detail = error.read().decode(errors="replace")[:300] if isinstance(error, urllib.error.HTTPError) else ""
        raise HarnessError(
            f"`{target.key}.url` {target.service.url!r} does not answer as `{body['model']}`: {error} {detail}. Start or "
            f"name the judge, and run the same command again; nothing was graded."
        ) from None


def _is_local(target: Target) -> bool:
    return "://127.0.0.1" in str(target.service.url) or "://localhost" in str(target.service.url)


def _url(target: Target) -> str:
    return str(target.service.url).rstrip("/") + "/chat/completions"


def _authorization(target: Target) -> dict[str, str]:
    name = target.service.key_env
    if name is None:
        return {}
    key = os.environ.get(name)
    if not key:
        raise HarnessError(f"`{target.key}.key_env` names {name}, which is not set. Export the key.")
    return {"Authorization": f"Bearer {key}"}


class Gateway(NamedTuple):
    """What a harness needs to ask."""

    address: str
    """Unix socket, or URL up to /v1."""
    token: str
    """In place of a key: nobody else on this machine can ask in our name."""


@contextlib.contextmanager
def gateway(targets: Mapping[str, Target], folder: Path, socket: Path | None) -> Iterator[Gateway]:
    """Pass requests on while the block runs, and add their numbers to the folder's record at its end.

    targets : by the name that the harness asks for; that name is replaced by the served one.
    """
    for target in targets.values():
        check(target)
    headers = {name: _authorization(target) for name, target in targets.items()}
    token, asked = secrets.token_urlsafe(24), Asked()

    async def handle(request: "web.Request", session: "ClientSession") -> "web.Response":
        from aiohttp import ClientError, web

        def refusal(status: int, text: str) -> "web.Response":
            return web.json_response({"error": {"message": text}}, status=status)

        if request.headers.get("Authorization") != f"Bearer {token}":
            return refusal(401, "unknown token")
        body = await request.json()
        name = body.get("model")
        if name not in targets:
            return refusal(400, f"no endpoint is configured for the model {name!r}")
        asked.n_requests[name] = asked.n_requests.get(name, 0) + 1
        target = targets[name]
        body["model"] = target.service.served or target.model
        try:
            async with session.post(_url(target), json=body, headers=headers[name], allow_redirects=False) as answer:
                status, text = answer.status, await answer.text()
        except (ClientError, TimeoutError, OSError, UnicodeDecodeError) as error:
            status, text = 502, json.dumps({"error": {"message": f"no answer: {type(error).__name__}"}})
        if status != 200:
            asked.n_failed[name] = asked.n_failed.get(name, 0) + 1
        return web.Response(status=status, text=text, content_type="application/json")

    try:
        with serving.served({"/v1/chat/completions": handle}, socket) as address:
            yield Gateway(address if socket is not None else f"{address}/v1", token)
    finally:
        write_json(folder / RECORD, _added(folder, targets, asked))


def _added(folder: Path, targets: Mapping[str, Target], asked: Asked) -> dict[str, Json]:
    old = recorded(folder)
    now: dict[str, Json] = {}
    for name, target in targets.items():
        before = old.get(name, {})
        now[name] = {
            "model": target.service.served or target.model,
            "n_requests": before.get("n_requests", 0) + asked.n_requests.get(name, 0),
            "n_failed": before.get("n_failed", 0) + asked.n_failed.get(name, 0),
        }
    return old | now


def regrade(tool: str, run: HarnessRun, options: Judging, judge: str, checkout: Path, workers: int) -> Command:
    """Return the command that grades the stored outputs of a tool again, in a sandbox."""
    outputs, folder = Path(str(options.outputs)).absolute(), run.folder.absolute()
    if outputs == folder:
        raise HarnessError("`options.judging.outputs` is the folder of the entry itself. Give the new grades a folder.")
    parts = {
        "tool": tool, "checkout": checkout, "outputs": outputs, "folder": folder, "judge": judge,
        "attempts": options.attempts, "workers": workers,
    }  # fmt: skip
    argv = ("python", "-P", regrade_driver.__file__, *(f"{name}={value}" for name, value in parts.items()))
    return Command(argv=argv, log="regrade.log", sandbox=options.sandbox, env={"PYTHONDONTWRITEBYTECODE": "1"})


def recorded(folder: Path) -> dict[str, Json]:
    """Return what was asked so far in a run's folder, by the name that the harness asked for."""
    path = folder / RECORD
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
