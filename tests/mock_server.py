"""An OpenAI-compatible chat server that replies from a script, with faults on request; also a program, for benchmarks.

Raw asyncio, so that it can break a connection at any byte and costs little beside the client under test.
Run: python tests/mock_server.py        prints its port; every first turn calls `add`, every second one answers
"""

import asyncio
import contextlib
import json
import re
import sys
import threading
from collections.abc import Callable

from replication.records import Message, Reply, Request, Sampling

FAULTS = (
    "refuses", "hangs", "resets", "rate_limit", "rate_limit_date", "internal_error", "garbage", "not_an_object",
    "wrong_model", "truncated", "truncated_stream", "drips", "empty_choices", "two_choices", "no_usage", "huge", "redirect",
    "error_in_200", "aborted", "content_not_text", "bad_tool_calls", "compressed", "nested",
)  # fmt: skip

_CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)


class MockServer:
    """Runs in a thread of its own; `with MockServer(script) as server` gives `server.url`.

    `fault` names what it does instead of replying, to every `every`-th chat request.
    """

    def __init__(self, script: Callable[[Request], str | Reply], model: str = "org/m", **listed):
        self.script, self.model = script, model
        self.listed = {"max_model_len": 512, "root": model} | listed
        self.fault: str | None = None
        self.every = 1
        self.delay_s = 0.0
        self.secret: str | None = None
        self.version = "0.32.0"
        self.bodies: list[dict] = []
        self.headers: list[str] = []
        self.n_in_flight = self.most_in_flight = self.n_faults = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def n_connections(self) -> int:
        return len(self._connections)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> "MockServer":
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *_) -> None:
        self.refuse()
        self._do(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def accept(self) -> None:
        """Listen, at the same port as before."""
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Stop listening and drop all connections."""

        async def stop() -> None:
            self._server.close()
            for writer in self._connections:
                writer.transport.abort()

        self._do(stop())

    def begin(self, fault: str, every: int = 1) -> None:
        """Fail from now on."""
        self.fault, self.every = fault, every
        if fault == "refuses":
            self.refuse()

    def heal(self) -> None:
        """Reply again."""
        if self.fault == "refuses":
            self.accept()
        self.fault = None

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _cancel_all(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # aborted connections are closed in the next round of the loop

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                data = await reader.readexactly(int(length[1])) if length else b""
                self.n_in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.n_in_flight)
                try:
                    await self._answer(head, data, writer)
                finally:
                    self.n_in_flight -= 1
        writer.close()
        self._connections.discard(writer)

    async def _answer(self, head: str, data: bytes, writer: asyncio.StreamWriter) -> None:
        path = head.split(" ", 2)[1]
        if not path.endswith("/chat/completions"):
            if self.fault == "hangs":
                await asyncio.sleep(60)
            known = {"/v1/models": {"data": [{"id": self.model, **self.listed}]}, "/version": {"version": self.version}}
            writer.write(_http(known[path]))
            return
        body = json.loads(data)
        self.bodies.append(body)
        number = len(self.bodies)
        self.headers.append(head)
        await asyncio.sleep(self.delay_s)
        if self.fault is not None and number % self.every == 0:
            self.n_faults += 1
            return await _FAULT[self.fault](self, body, writer)
        writer.write(_http(self.completion(body)))

    def completion(self, body: dict) -> dict:
        """Return the right answer to a request."""
        messages = tuple(Message(role=m["role"], content=m["content"] or "") for m in body["messages"])
        sampling = Sampling(temperature=body["temperature"], max_tokens=body["max_tokens"])
        reply = self.script(Request(messages=messages, sampling=sampling, seed=body["seed"]))
        if isinstance(reply, str):
            n_prompt = sum(len(m.content.split()) for m in messages)
            reply = Reply(text=reply, finish="stop", n_prompt_tokens=n_prompt, n_completion_tokens=len(reply.split()))
        message: dict = {"role": "assistant", "content": reply.text}
        calls = [json.loads(call) for call in _CALL.findall(reply.text)]
        if body.get("tools") and "tool_choice" not in body and calls:
            functions = [{"name": c["name"], "arguments": json.dumps(c["arguments"])} for c in calls]
            message = {
                "role": "assistant", "content": _CALL.sub("", reply.text).strip() or None,
                "tool_calls": [{"id": f"c{i}", "type": "function", "function": f} for i, f in enumerate(functions)],
            }  # fmt: skip
        usage = {"prompt_tokens": reply.n_prompt_tokens, "completion_tokens": reply.n_completion_tokens}
        choice = {"index": 0, "message": message, "finish_reason": reply.finish}
        return {"model": self.model, "choices": [choice], "usage": usage, "system_fingerprint": "fp_1"}


def _http(value: object, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    fixed = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length or len(data)}\r\n"
    return f"{fixed}{headers}\r\n".encode() + data


def _changed(**changes):
    async def fault(server: MockServer, body: dict, writer: asyncio.StreamWriter) -> None:
        writer.write(_http({k: v for k, v in {**server.completion(body), **changes}.items() if v is not None}))

    return fault


def _written(value: object, *arguments, **more):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()

    async def fault(server: MockServer, body: dict, writer: asyncio.StreamWriter) -> None:
        writer.write(_http(data.replace(b"SECRET", (server.secret or "").encode()), *arguments, **more))

    return fault


async def _hangs(server: MockServer, body: dict, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def _resets(server: MockServer, body: dict, writer: asyncio.StreamWriter) -> None:
    answer = _http(server.completion(body))
    writer.write(answer[:-20])
    await writer.drain()
    writer.transport.abort()


async def _truncated(server: MockServer, body: dict, writer: asyncio.StreamWriter) -> None:
    writer.write(_http(server.completion(body), length=9999))
    writer.close()


async def _truncated_stream(server: MockServer, body: dict, writer: asyncio.StreamWriter) -> None:
    data = json.dumps(server.completion(body)).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(data), data))
    writer.close()  # the last chunk, of length 0, is missing


async def _drips(server: MockServer, body: dict, writer: asyncio.StreamWriter) -> None:
    for byte in _http(server.completion(body)):
        writer.write(bytes([byte]))
        await asyncio.sleep(0.01)


async def _huge(server: MockServer, body: dict, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n%s\r\n" % (b" " * 0x10000))
        await writer.drain()


_ERROR = {"error": {"message": "out of luck, Bearer SECRET"}}
_REPLY = {"role": "assistant", "content": "answer done"}
_FAULT = {
    "hangs": _hangs,
    "resets": _resets,
    "rate_limit": _written(_ERROR, "429 Too Many Requests", "Retry-After: 0\r\n"),
    "rate_limit_date": _written(_ERROR, "429 Too Many Requests", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n"),
    "internal_error": _written(_ERROR, "500 Internal Server Error"),
    "unauthorized": _written(_ERROR, "401 Unauthorized"),
    "garbage": _written(b"<html>Bad gateway SECRET</html>"),
    "not_an_object": _written([]),
    "wrong_model": _changed(model="org/other"),
    "truncated": _truncated,
    "truncated_stream": _truncated_stream,
    "drips": _drips,
    "empty_choices": _changed(choices=[]),
    "two_choices": _changed(choices=[{"message": _REPLY, "finish_reason": "stop"}] * 2),
    "no_usage": _changed(usage=None),
    "huge": _huge,
    "redirect": _written({}, "307 Temporary Redirect", "Location: http://127.0.0.1:9/v1/chat/completions\r\n"),
    "error_in_200": _written(_ERROR),
    "aborted": _changed(choices=[{"message": _REPLY, "finish_reason": "abort"}]),
    "content_not_text": _changed(choices=[{"message": {"content": [1]}, "finish_reason": "stop"}]),
    "bad_tool_calls": _changed(choices=[{"message": {"tool_calls": [{"id": 1}]}, "finish_reason": "tool_calls"}]),
    "compressed": _written(b"\x1f\x8b\x08\x00", headers="Content-Encoding: gzip\r\n"),
    "nested": _written(b"[" * 100_000),
}


def _adding(request: Request) -> str:
    if request.messages[-1].role == "tool":
        return "The answer is 3"
    return '<tool_call>\n{"name": "add", "arguments": {"x": 1, "y": 2}}\n</tool_call>'


if __name__ == "__main__":
    with MockServer(_adding) as running:
        print(running.port, flush=True)
        sys.stdin.read()
