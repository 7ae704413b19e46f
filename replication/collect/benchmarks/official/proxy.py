"""A proxy between an official harness and the endpoint that serves the model: it completes, records and checks requests.

Requests that lack a sampling parameter or a seed get those of the run; one that states another value is refused, or passed
on and listed as a deviation. The harness never sees the endpoint's key. What went over the wire is the proxy's `Wire`.
"""

import contextlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replication.collect.benchmarks.official import serving
from replication.collect.interfaces import Endpoint
from replication.errors import HarnessError
from replication.records import Json, Sampling, canonical_json, stable_seed

if TYPE_CHECKING:
    from aiohttp import ClientSession, web

PATHS = ("/v1/chat/completions", "/v1/completions")
CONTENT = ("messages", "prompt", "tools", "functions", "model", "stream", "user", "store", "metadata", "seed")
"""Fields of a request that are no sampling parameters."""
DROPPED = ("store", "metadata", "user")
"""Fields that ask a vendor to keep requests; other servers may refuse them."""
NEUTRAL: Mapping[str, Json] = {
    "n": 1, "best_of": 1, "presence_penalty": 0, "frequency_penalty": 0, "repetition_penalty": 1, "min_p": 0,
    "tool_choice": "auto", "stop": None, "logit_bias": None, "response_format": None, "logprobs": False,
    "parallel_tool_calls": True, "reasoning_effort": None,
}  # fmt: skip
"""Parameters that no run states, with the values that change nothing."""
MAX_VALUES = 20
"""Most different values of one parameter that are recorded."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What every request of a run must have."""

    endpoint: Endpoint
    sampling: Sampling
    seed: tuple[Json, ...]
    """Run seed, trial and whatever else tells requests apart; hashed with the request into its seed."""
    refuse: bool
    """Refuse a request with another value, instead of listing a deviation."""
    template_options: Mapping[str, Json] = field(default_factory=dict)
    timeout_s: float = 3600.0
    aliases: tuple[str, ...] = ()
    """Names by which the harness calls the model besides the served one."""
    token: str | None = None
    """Asked of the harness in place of a key, where others can reach the proxy; None where only this machine can."""
    numbered: bool = False
    """Equal requests are of several attempts and get different seeds; else a request that is sent again gets its old one."""


@dataclass
class Wire:
    """Counts of what a harness sent and got."""

    n_requests: int = 0
    n_replies: int = 0
    n_seeds_added: int = 0
    n_prompt_tokens: int = 0
    n_completion_tokens: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    """By kind: engine_error, prompt_too_long, context_overflow, malformed, request_refused, forbidden."""
    sent: dict[str, dict[str, int]] = field(default_factory=dict)
    """Requests by value as JSON, by parameter as the harness sent it; `absent` where it sent none."""
    deviations: list[str] = field(default_factory=list)
    servers: list[str] = field(default_factory=list)
    """What the endpoints state of themselves."""

    def __post_init__(self) -> None:
        self._answered: dict[str, int] = {}

    def number(self, request: str) -> int:
        """Count the equal requests before this one in this part of the run."""
        self._answered[request] = self._answered.get(request, -1) + 1
        return self._answered[request]

    def plus(self, other: "Wire") -> "Wire":
        """Return the counts of two parts of a run."""
        counts = {name: getattr(self, name) + getattr(other, name) for name in vars(self) if name.startswith("n_")}
        sent = {name: _sum(self.sent.get(name, {}), other.sent.get(name, {})) for name in {**self.sent, **other.sent}}
        return Wire(
            **counts, failures=_sum(self.failures, other.failures), sent=sent,
            deviations=list(dict.fromkeys([*self.deviations, *other.deviations])),
            servers=list(dict.fromkeys([*self.servers, *other.servers])),
        )  # fmt: skip

    def count(self, parameter: str, value: str) -> None:
        """Count a value of a parameter."""
        values = self.sent.setdefault(parameter, {})
        key = value if value in values or len(values) < MAX_VALUES else "others"
        values[key] = values.get(key, 0) + 1


def _sum(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    return {key: a.get(key, 0) + b.get(key, 0) for key in {**a, **b}}


class Refusal(Exception):
    """A reply that the harness gets instead of the model's; its message starts with the kind of the failure."""

    def __init__(self, status: int, kind: str, text: str):
        super().__init__(f"{kind}: {text}")
        self.status, self.kind = status, kind


def completed(body: dict[str, Json], rules: Rules, wire: Wire) -> dict[str, Json]:
    """Return a request with the sampling of the run and a seed; raises Refusal if it states what the run forbids."""
    if body.get("model") in rules.aliases:
        body = body | {"model": rules.endpoint.served}
    if body.get("model") != rules.endpoint.served:
        raise Refusal(400, "forbidden", f"model is {body.get('model')!r}, the run's is {rules.endpoint.served!r}")
    sampling = rules.sampling
    stated: dict[str, Json] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    if sampling.top_k != -1:
        stated["top_k"] = sampling.top_k
    new = {name: value for name, value in body.items() if name not in DROPPED}
    if new.get("max_tokens") is None and "max_completion_tokens" in new:
        new["max_tokens"] = new.pop("max_completion_tokens")
    wrong = []
    for name in sorted(set(stated) | (set(new) - set(CONTENT))):
        sent, due = new.get(name), stated.get(name, NEUTRAL.get(name))
        wire.count(name, "absent" if sent is None else canonical_json(sent))
        if sent is None:
            new.pop(name, None)
        elif sent != due:
            wrong.append(f"{name}: the harness sent {canonical_json(sent)}, the run states {canonical_json(due)}")
    wire.deviations += [text for text in wrong if text not in wire.deviations]
    if wrong and rules.refuse:
        raise Refusal(400, "forbidden", "; ".join(wrong))
    new = stated | new
    if rules.template_options:
        new["chat_template_kwargs"] = dict(rules.template_options)
    wire.count("seed", "absent" if new.get("seed") is None else "sent")
    if new.get("seed") is None:
        # Of the request, not of its position: equal in every order, and equal when the harness sends it again.
        of: list[Json] = [*rules.seed, {name: value for name, value in new.items() if name != "seed"}]
        new["seed"] = stable_seed(*of, *([wire.number(canonical_json(of))] if rules.numbered else []))
        wire.n_seeds_added += 1
    return new


def refusal_of(status: int, text: str, body: Mapping[str, Json]) -> Refusal:
    """Tell whether the endpoint failed, the context was too short, or it refused a request, at the start or later."""
    messages = body.get("messages")
    later = isinstance(messages, list) and any(isinstance(m, dict) and m.get("role") == "assistant" for m in messages)
    if status not in (400, 413, 422):
        return Refusal(502, "engine_error", f"the endpoint answered {status}: {text[:300]}")
    if "context length" in text or "max_model_len" in text or "longer than the maximum model length" in text:
        return Refusal(400, "context_overflow" if later else "prompt_too_long", text[:300])
    # Later requests repeat what the model wrote, such as a call whose arguments are no JSON.
    return Refusal(400, "malformed" if later else "request_refused", text[:300])


def streamed(reply: Mapping[str, Any], with_usage: bool) -> str:
    """Return a reply as the events of a stream: all choices at once, the usage, the end."""
    head = {name: reply[name] for name in ("id", "created", "model") if name in reply}
    head["object"] = "chat.completion.chunk"
    choices = []
    for choice in reply["choices"]:
        delta = {name: value for name, value in choice["message"].items() if value is not None}
        if delta.get("tool_calls"):
            delta["tool_calls"] = [call | {"index": at} for at, call in enumerate(delta["tool_calls"])]
        choices.append({"index": choice["index"], "delta": delta, "finish_reason": choice.get("finish_reason")})
    events = [
        head | {"choices": choices},
        *([head | {"choices": [], "usage": reply.get("usage")}] if with_usage else []),
    ]
    return "".join(f"data: {text}\n\n" for text in [*map(json.dumps, events), "[DONE]"])


@contextlib.contextmanager
def proxy(rules: Rules, socket: Path | None, host: str = "127.0.0.1") -> Iterator[tuple[Wire, str]]:
    """Serve the proxy while the block runs, and yield what goes over the wire, and the address: see `serving.served`."""
    wire = Wire()

    async def handle(request: "web.Request", session: "ClientSession") -> "web.Response":
        from aiohttp import web

        if rules.token is not None and request.headers.get("Authorization") != f"Bearer {rules.token}":
            return web.json_response({"error": {"message": "unknown token"}}, status=401)
        wire.n_requests += 1
        try:
            body = _parsed(request.path, await request.read())
            streams = bool(body.get("stream"))
            options = (body.pop("stream"), body.pop("stream_options", None))[1] if streams else None
            reply = await _forward(session, request.path, body, rules, wire)
        except Refusal as refusal:
            wire.failures[refusal.kind] = wire.failures.get(refusal.kind, 0) + 1
            error = {"error": {"message": str(refusal), "type": refusal.kind}}
            return web.json_response(error, status=refusal.status)
        wire.n_replies += 1
        if streams:
            text = streamed(reply, bool(isinstance(options, dict) and options.get("include_usage")))
            return web.Response(text=text, content_type="text/event-stream")
        return web.json_response(reply)

    posts = dict.fromkeys(PATHS, handle)
    with serving.served(
        posts, socket, host=host, timeout_s=rules.timeout_s, headers=key_header(rules.endpoint)
    ) as address:
        yield wire, address


def _parsed(path: str, data: bytes) -> dict[str, Json]:
    try:
        body = json.loads(data)
    except ValueError:
        raise Refusal(400, "forbidden", "the request is no JSON") from None
    if not isinstance(body, dict) or (body.get("stream") and path != PATHS[0]):
        raise Refusal(400, "forbidden", "requests must be objects, and only chat completions can be streamed")
    return body


async def _forward(
    session: "ClientSession", path: str, body: dict[str, Json], rules: Rules, wire: Wire
) -> dict[str, Json]:
    from aiohttp import ClientError

    body = completed(body, rules, wire)
    try:
        async with session.post(
            rules.endpoint.url + path.removeprefix("/v1"), json=body, allow_redirects=False
        ) as answer:
            status, text = answer.status, await answer.text()
    except (ClientError, TimeoutError, OSError, UnicodeDecodeError) as error:
        raise Refusal(502, "engine_error", f"the endpoint does not answer: {type(error).__name__}") from None
    if status != 200:
        raise refusal_of(status, text, body)
    try:
        reply = json.loads(text)
        usage, n_choices, model = reply.get("usage") or {}, len(reply["choices"]), reply.get("model")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Refusal(502, "engine_error", f"the endpoint's reply is not a completion: {text[:200]}") from None
    if not n_choices or model != rules.endpoint.served:
        raise Refusal(502, "engine_error", f"the reply has {n_choices} choices and is of model {model!r}")
    wire.n_prompt_tokens += int(usage.get("prompt_tokens") or 0)
    wire.n_completion_tokens += int(usage.get("completion_tokens") or 0)
    return reply


def key_header(endpoint: Endpoint) -> dict[str, str]:
    """Return the header with the endpoint's key, if it has one."""
    if endpoint.api_key_env is None:
        return {}
    key = os.environ.get(endpoint.api_key_env)
    if not key:
        raise HarnessError(
            f"`engine.options.api_key_env` names {endpoint.api_key_env}, which is not set. Export the key."
        )
    return {"Authorization": f"Bearer {key}"}


def check_endpoint(endpoint: Endpoint, when: str, timeout_s: float = 120.0) -> str:
    """Check that the endpoint lists the model and completes one token, and return what it states; else HarnessError.

    A harness scores a dead endpoint as 0, or as 1 where no call is right, so it is asked before and after.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    body = {
        "model": endpoint.served,
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 1,
        "temperature": 0,
        "seed": 0,
    }
    headers = {"Content-Type": "application/json", **key_header(endpoint)}

    def ask(path: str, data: bytes | None) -> Json:
        request = urllib.request.Request(endpoint.url + path, data=data, headers=headers)
        with opener.open(request, timeout=timeout_s) as answer:
            return json.loads(answer.read())

    try:
        listed: Any = ask("/models", None)
        names = [entry["id"] for entry in listed["data"]]
        if endpoint.served in names:
            entry = next(entry for entry in listed["data"] if entry["id"] == endpoint.served)
            reply: Any = ask("/chat/completions", json.dumps(body).encode())
            if not reply["choices"]:
                raise ValueError("a completion without choices")
    except (OSError, ValueError, KeyError, TypeError) as error:
        detail = error.read().decode(errors="replace")[:300] if isinstance(error, urllib.error.HTTPError) else ""
        raise HarnessError(
            f"the endpoint {endpoint.url} does not answer {when}: {error} {detail}. Results so far are kept; start it and "
            f"run the same command again, which resumes."
        ) from None
    if endpoint.served not in names:
        raise HarnessError(
            f"the endpoint {endpoint.url} serves {', '.join(names) or 'nothing'}, not `{endpoint.served}`. Serve the "
            f"checkpoint of the run, or name it as the server does in `engine.options.model`."
        )
    context = entry.get("max_model_len", "unknown")
    return f"{entry.get('owned_by', 'unknown')} {_version(opener, endpoint)}, context {context}"


def _version(opener: urllib.request.OpenerDirector, endpoint: Endpoint) -> str:
    """Return the version that vLLM states; other servers have no such address."""
    try:
        with opener.open(endpoint.url.removesuffix("/v1") + "/version", timeout=30) as answer:
            return str(json.loads(answer.read())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return "of unknown version"
