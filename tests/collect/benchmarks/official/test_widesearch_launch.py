"""WideSearch launched through our driver: recordings, a live service, judges, and answers that are judged again.

Run with a stand-in of the script that has its faults, and with the script itself where REPLICATION_WIDESEARCH names a clone
at commit 0e664c3 whose packages are in its folder `.venv`.
"""

import json
import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from chat_endpoint import ChatEndpoint
from harness_runs import harness_run, put, statuses

from replication.collect.benchmarks import official
from replication.errors import HarnessError

REAL = os.environ.get("REPLICATION_WIDESEARCH")
TOOLS = {"stand-in": (Path(__file__).parent / "fake_widesearch", Path(sys.prefix))} | (
    {"real": (Path(REAL), Path(REAL) / ".venv")} if REAL else {}
)
TABLE = "```markdown\n| Company | Year | City |\n|---|---|---|\n| Alpha | 1990 | Roma |\n| Beta | {} | Oslo |\n```"


@pytest.fixture(params=TOOLS)
def tool(request):
    return TOOLS[request.param]


@pytest.fixture
def data(tmp_path):
    pipeline = {
        "company": {"preprocess": ["norm_str"], "metric": ["exact_match"]},
        "year": {"preprocess": ["extract_number"], "metric": ["number_near"], "criterion": 0.0},
        "city": {"preprocess": [], "metric": ["llm_judge"], "criterion": "the same city"},
    }
    evaluation = {"unique_columns": ["company"], "required": ["company", "year", "city"], "eval_pipeline": pipeline}
    lines = []
    for number in range(2):
        name = f"toy_{number}"
        item = {"instance_id": name, "query": f"question {number}", "language": "en"}
        lines.append(json.dumps(item | {"evaluation": json.dumps(evaluation)}))
        put(
            tmp_path / "data" / "widesearch_gold" / f"{name}.csv",
            "Company,Year,City\nAlpha,1990,Rome\nBeta,2001,Oslo\n",
        )
        put(tmp_path / "web" / f"{number}.json", {"query": f"companies {number}", "text": "[url] https://a.example/"})
    put(tmp_path / "web" / "page.json", {"url": "https://a.example/", "text": "Alpha 1990 Rome, Beta 2001 Oslo"})
    put(tmp_path / "data" / "widesearch.jsonl", "\n".join(lines))
    return tmp_path / "data"


def call(name, **arguments):
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "type": "function", "function": function}]}


def question(body) -> int:
    return int(re.search(r"question ([0-9])", json.dumps(body["messages"]))[1])


def agent(body):
    """Search, read a page, and answer: question 0 right, question 1 with a wrong year."""
    turn = sum(message["role"] == "assistant" for message in body["messages"])
    steps = [call("search_global", query=f"companies {question(body)}"),
             call("text_browser_view", url="https://a.example/", description="x")]  # fmt: skip
    return steps[turn] if turn < 2 else TABLE.format(1999 if question(body) else 2001)


def judge(*scores):
    def answer(body):
        graded = "response-start" in body["messages"][-1]["content"]
        found = {f"idx_{number}": score for number, score in enumerate(scores)} if graded else {}
        return f"```json\n{json.dumps(found)}\n```"

    return answer


def adapter(tool, tmp_path, model, judges, **more):
    checkout, venv = tool
    return official.load(
        "widesearch",
        {
            "judge": "mock", "judging": {"url": judges.endpoint().url, "served": judges.model, "attempts": 2},
            "tools": {"cache": str(tmp_path / "web")}, "data": str(tmp_path / "data"),
            "launch": {"venv": str(venv), "checkout": str(checkout), "endpoint": model.endpoint().url, "workers": 2},
        } | more,
    )  # fmt: skip


def play(harness, run):
    harness.prepare(run)
    harness.launch(run)
    return {(row.task_id, row.trial): row for row in harness.ingest(run)}


def test_recorded_searches_and_a_judge_give_the_scores_of_the_script(tool, data, tmp_path):
    with ChatEndpoint(agent) as model, ChatEndpoint(judge(1, 1), model="j") as judges:
        harness, run = adapter(tool, tmp_path, model, judges), harness_run(tmp_path / "run", n_trials=2)
        rows = play(harness, run)
        assert harness.validate(run) == []
        assert {key: row.value for key, row in rows.items()} == {
            ("toy_0", 0): 1.0, ("toy_0", 1): 1.0, ("toy_1", 0): pytest.approx(5 / 6), ("toy_1", 1): pytest.approx(5 / 6)
        }  # fmt: skip
        seeds = {body["seed"] for body in model.bodies}
        assert len(seeds) == len(model.bodies) == 12, "equal requests of two trials must not share a seed"
        play(harness, run)
        assert len(model.bodies) == 12
    facts = harness.facts(run)
    assert facts["judges"] == {"mock": "j"} and facts["tools"]["backend"] == "none"
    assert facts["measured"]["wire"]["sent"]["temperature"] == {"absent": 12}
    assert {body["model"] for body in judges.bodies} == {"j"}


def test_search_that_is_not_recorded_is_no_observation_and_only_that_attempt_is_played_again(tool, data, tmp_path):
    def other(body):
        return call("search_global", query="something else") if question(body) else agent(body)

    with ChatEndpoint(other) as model, ChatEndpoint(judge(1, 1), model="j") as judges:
        harness, run = adapter(tool, tmp_path, model, judges), harness_run(tmp_path / "run")
        rows = play(harness, run)
        assert statuses(rows) == {("toy_0", 0): (1.0, "ok"), ("toy_1", 0): (None, "infra_error")}
        assert "the search 'something else' is not recorded in" in rows["toy_1", 0].error
        n_asked = len(model.bodies)
        model.answer = agent
        rows = play(harness, run)
        assert statuses(rows)["toy_1", 0] == (pytest.approx(5 / 6), "ok") and len(model.bodies) == n_asked + 3


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((500, "broken"), (None, "engine_error")),
        ((400, "This model's maximum context length is 512 tokens."), (0.0, "context_overflow")),
    ],
)
def test_dead_server_is_no_score_and_a_full_context_is_the_models_own(tool, data, tmp_path, answer, status):
    def sometimes(body):
        return answer if question(body) and len(body["messages"]) > 2 else agent(body)

    with ChatEndpoint(sometimes) as model, ChatEndpoint(judge(1, 1), model="j") as judges:
        rows = play(adapter(tool, tmp_path, model, judges), harness_run(tmp_path / "run"))
    assert statuses(rows) == {("toy_0", 0): (1.0, "ok"), ("toy_1", 0): status}


@pytest.mark.parametrize(
    "broken", [lambda body: "I cannot say", lambda body: (500, "x"), judge(1), judge(1, 7)],
    ids=["prose", "error", "one of two", "out of range"],
)  # fmt: skip
def test_judge_that_fails_gives_no_score_and_the_next_call_asks_it_again(tool, data, tmp_path, broken):
    with ChatEndpoint(agent) as model, ChatEndpoint(broken, model="j") as judges:
        harness, run = adapter(tool, tmp_path, model, judges), harness_run(tmp_path / "run")
        assert set(statuses(play(harness, run)).values()) == {(None, "judge_failed")}
        n_asked = len(model.bodies)
        judges.answer = judge(1, 1)
        assert statuses(play(harness, run))["toy_0", 0] == (1.0, "ok") and len(model.bodies) == n_asked


def test_stored_answers_are_judged_again_without_a_model_and_as_another_run(tool, data, tmp_path):
    with ChatEndpoint(agent) as model, ChatEndpoint(judge(1, 1), model="j") as judges:
        first = adapter(tool, tmp_path, model, judges)
        play(first, harness_run(tmp_path / "run"))
        n_asked = len(model.bodies)
    with ChatEndpoint(judge(0, 1), model="strict") as judges:
        place = {"url": judges.endpoint().url, "served": "strict", "outputs": str(tmp_path / "run")}
        harness = adapter(tool, tmp_path, model, judges, judge="strict", judging=place, tools={})
        rows = play(harness, harness_run(tmp_path / "again"))
        assert statuses(rows) == {
            ("toy_0", 0): (pytest.approx(5 / 6), "ok"), ("toy_1", 0): (pytest.approx(4 / 6), "ok")
        }  # fmt: skip
    assert len(model.bodies) == n_asked and harness.version != first.version
    assert harness.variant and harness.variant != first.variant and official.load("widesearch").variant == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tools": {}}, "neither a recorded cache nor a live service"),
        ({"tools": {"backend": "brave"}}, r"BRAVE_API_KEY, which `options.tools.key_env` names, is not set"),
        ({"tools": {"cache": "/none"}}, "which has no recordings"),
        ({"judging": {}}, r"`options.judging.url` is null, so there is no endpoint that serves `mock`"),
        ({"judging": {"url": "http://127.0.0.1:9/v1"}}, "does not answer as `mock`.*nothing was graded"),
        (
            {"judging": {"url": "http://127.0.0.1:9/v1", "key_env": "NO_SUCH_KEY"}},
            "names NO_SUCH_KEY, which is not set",
        ),
    ],
)
def test_what_is_missing_is_named_before_anything_runs(data, tmp_path, options, message, monkeypatch):
    monkeypatch.delenv("BRAVE_API_KEY", raising=False)
    with ChatEndpoint(agent) as model, ChatEndpoint(judge(1, 1), model="j") as judges:
        harness = adapter(TOOLS["stand-in"], tmp_path, model, judges, **options)
        with pytest.raises(HarnessError, match=message):
            harness.prepare(harness_run(tmp_path / "run"))
    assert not model.bodies and not (tmp_path / "run").exists()


class Web:
    """A search service and a page on this machine."""

    def __init__(self):
        owner, self.asked, self.status = self, [], 200

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                owner.asked.append((self.path, self.headers.get("X-Subscription-Token")))
                found = {"web": {"results": [{"title": "T", "url": f"{owner.url}/page", "description": "<b>s</b>nip"}]}}
                page = "<html><style>x</style><p>Alpha &amp; <i>Co</i></p><table><td>1990</td></table></html>"
                kind, text = ("text/html", page) if self.path == "/page" else ("application/json", json.dumps(found))
                self.send_response(owner.status if "/page" not in self.path else 200 if self.path == "/page" else 404)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(text.encode())

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def live(web, folder, *, local_pages=True):
    from replication.collect.benchmarks.official import websearch

    return websearch.build(websearch.Tools(backend="brave", url=f"{web.url}/search"), folder, local_pages=local_pages)


def test_live_answers_are_recorded_and_replayed_without_the_service_and_the_key_is_in_no_file(tmp_path, monkeypatch):
    from replication.collect.benchmarks.official import websearch

    monkeypatch.setenv("BRAVE_API_KEY", "very-secret")
    with Web() as web:
        tools = live(web, tmp_path)
        found = tools.search("a  query", 50, True)
        assert found == f"[index] 1\n[title] T\n[url] {web.url}/page\n[snippet] snip"
        assert tools.page(f"{web.url}/page") == "Alpha & Co\n| 1990"
        assert tools.page(f"{web.url}/page/none") == "The page cannot be read: the server answered 404."
        assert web.asked[0] == ("/search?q=a++query&count=20&search_lang=en", "very-secret")
        assert web.asked[1] == ("/page", None), "the key is for the service only"
        n_asked = len(web.asked)
        assert tools.search("a query", 50, True) == found and len(web.asked) == n_asked
    recorded = websearch.build(websearch.Tools(cache=str(tmp_path / "web")), tmp_path)
    assert recorded.search("a query", 50, True) == found
    with pytest.raises(websearch.ToolFailure, match="the search 'a query' is not recorded"):
        recorded.search("a query", 10, True)
    assert "very-secret" not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_failure_of_the_service_is_no_result_and_is_not_recorded(tmp_path, monkeypatch):
    from replication.collect.benchmarks.official import websearch

    monkeypatch.setenv("BRAVE_API_KEY", "k")
    with Web() as web:
        web.status = 429
        with pytest.raises(websearch.ToolFailure, match="the search service answered 429"):
            live(web, tmp_path).search("q", 10, False)
    assert not list(tmp_path.rglob("*.json"))


def test_a_page_of_this_machine_or_a_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAVE_API_KEY", "k")
    with Web() as web:
        tools = live(web, tmp_path, local_pages=False)
        for url in (f"{web.url}/page", "file:///etc/passwd", "nonsense"):
            assert tools.page(url) == "The page cannot be read: ValueError."
        assert web.asked == []
