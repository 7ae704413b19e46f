"""A chat server for tests of launched harnesses: a function answers each request, and it can die at any of them."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from replication.collect.interfaces import Endpoint

PREFLIGHT = [{"role": "user", "content": "Hi"}]


class ChatEndpoint:
    """`with ChatEndpoint(answer) as server`; `answer(body)` returns a text, a message, or a pair of status and error."""

    def __init__(self, answer: Callable[[dict], str | dict | tuple[int, str]], model: str = "org/m"):
        self.answer, self.model, self.bodies, self.keys = answer, model, [], set()
        self.dies_after: int | None = None
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                if owner.is_dead:
                    self.close_connection = True
                    return
                self.reply({"data": [{"id": owner.model}]})

            def do_POST(self):
                if owner.is_dead:
                    self.close_connection = True
                    return
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.keys.add(self.headers.get("Authorization"))
                self.reply(*owner.completion(body))

            def reply(self, value, status=200):
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def is_dead(self) -> bool:
        return self.dies_after is not None and len(self.bodies) >= self.dies_after

    def endpoint(self, **more) -> Endpoint:
        return Endpoint(url=f"http://127.0.0.1:{self._server.server_port}/v1", served=self.model, **more)

    def completion(self, body: dict) -> tuple:
        if body["messages"] == PREFLIGHT:
            answer = "Hi"
        else:
            with self._lock:
                self.bodies.append(body)
            answer = self.answer(body)
        if isinstance(answer, tuple):
            return {"error": {"message": answer[1]}}, answer[0]
        message = answer if isinstance(answer, dict) else {"role": "assistant", "content": answer}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        return {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice],
                "usage": usage}, 200  # fmt: skip

    def __enter__(self) -> "ChatEndpoint":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()


def one_round_of_calls(body: dict) -> str | dict:
    """Answer as an agent that calls the tools without required arguments, at most four, and then says that it is done."""
    if any(message["role"] == "assistant" for message in body["messages"]):
        return "Summary: I reviewed everything. Total amount 1234. Done."
    names = [tool["function"]["name"] for tool in body["tools"] if not tool["function"]["parameters"].get("required")]
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": "{}"}}
             for n, name in enumerate(names[:4])]  # fmt: skip
    return {"role": "assistant", "content": "checking", "tool_calls": calls} if calls else "done"
