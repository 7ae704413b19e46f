"""Program that runs in the environment of WideSearch: gives its script a model, a judge and tools, then calls it.

Run: python -P widesearch_driver.py checkout=... folder=... stage=both judge=... served=... trials=4 threads=8 attempts=3
     data=

The script itself reaches services by the name of a model only, and its search tool by an address of its authors. Model,
judge and tools are where REPLICATION_MODEL_URL, REPLICATION_JUDGE_URL with REPLICATION_JUDGE_KEY, and the Unix socket
REPLICATION_TOOLS say.
`data`: folder with widesearch.jsonl and widesearch_gold, in place of a download. Prompts, loop and scorer are unchanged.

A request that failed for a reason that is not the model's ends its attempt with a file ..._failure.json and without an
answer; the script would go on, and grade its own error message. A judge without a readable answer ends the evaluation.
"""

import json
import os
import re
import runpy
import sys
import types
from pathlib import Path

NAME = "replication"
"""Of the model in the script and in the names of its files."""
JUDGE = "default_eval_config"
"""The only judge that the script uses."""
JUDGE_TOKENS = 10240
"""Most tokens of a judgement, as in the script's configuration; it sends no other parameter."""


class Failed(BaseException):
    """A failure that is not the model's; no `except Exception` of the script may turn it into an observation."""

    def __init__(self, status: str, text: str):
        super().__init__(text)
        self.status = status


class JudgeFailed(Exception):
    """No readable judgement; the script reports it as an error of the evaluation, without a score."""


def completion_with(settings: dict):
    """Return the function that replaces `llm_completion`."""
    from openai import APIError, APIStatusError, OpenAI

    def ask(name: str, key: str, model: str, messages, **more):
        client = OpenAI(base_url=os.environ[name], api_key=key, timeout=3600.0, max_retries=2)
        return client.chat.completions.create(model=model, messages=messages, **more).choices[0].message

    def judged(messages):
        error = None
        for _ in range(int(settings["attempts"])):
            try:
                key = os.environ["REPLICATION_JUDGE_KEY"]
                message = ask("REPLICATION_JUDGE_URL", key, settings["judge"], messages, max_tokens=JUDGE_TOKENS)
            except APIError as problem:
                error = problem
                continue
            if is_readable(message.content or "", messages[-1]["content"]):
                return message
            error = "its answer lacks the JSON that was asked for"
        raise JudgeFailed(f"the judge failed: {error}")

    def llm_completion(messages, tools=None, model_config_name=NAME):
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        if model_config_name == JUDGE:
            return judged(messages)
        try:
            more = {"tools": tools} if tools else {}
            return ask("REPLICATION_MODEL_URL", "EMPTY", settings["served"], messages, **more)
        except APIStatusError as problem:
            # The proxy names the kind first. One that is the model's own ends the attempt with the score 0.
            kind = re.search(r"(context_overflow|prompt_too_long|malformed)", str(problem))
            raise Failed(kind[1] if kind else "engine_error", str(problem)) from None
        except APIError as problem:
            raise Failed("engine_error", str(problem)) from None

    return llm_completion


def is_readable(answer: str, question: str) -> bool:
    """Tell whether a judge's answer has a JSON object, and a 0 or 1 for every pair that it was asked to grade."""
    blocks = re.findall(r"```json\s*(\{.*?\})\s*```", answer, re.DOTALL)
    try:
        found = json.loads(blocks[-1]) if blocks else None
    except ValueError:
        return False
    if found is None or "====== response-start ======" not in question:
        return found is not None
    graded = question.rpartition("====== response-start ======")[2]
    pairs = set(re.findall(r"'(idx_[0-9]+)': \{'response':", graded))
    return all(found.get(pair) in (0, 1) for pair in pairs)


def replace_tools(module) -> None:
    """Make the two tools of the script ask our server."""

    async def ask(path: str, **asked):
        import aiohttp

        connector = aiohttp.UnixConnector(path=os.environ["REPLICATION_TOOLS"])
        url = f"http://tools/{path}"
        try:
            async with aiohttp.ClientSession(connector=connector) as session, session.post(url, json=asked) as answer:
                reply = await answer.json()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Failed("infra_error", f"the tools do not answer: {error!r}") from None
        if "failure" in reply:
            raise Failed("infra_error", reply["failure"])
        return module.InternalResponse(data=reply["text"])

    async def search_global(query: str, count: int = 10, summary_type: str = "short", use_english: bool = False):
        if not isinstance(query, str) or not query.strip():
            return module.InternalResponse(error="error: query is empty")
        if not isinstance(count, int) or not 1 <= count <= 200:
            return module.InternalResponse(error=f"count={count} not in [1, 200]")
        return await ask("search", query=query, count=count, english=bool(use_english))

    async def text_browser_view(url: str, description: str = ""):
        if not isinstance(url, str) or not url.strip():
            return module.InternalResponse(error="error: url is empty")
        return await ask("page", url=url.strip())

    module._default_tools.update(search_global=search_global, text_browser_view=text_browser_view)


def keep_failures(module, folder: Path) -> None:
    """Write a file for an attempt that failed, and none of its answer."""
    original = module.run_single_query

    async def run_single_query(*args, **options):
        try:
            return await original(*args, **options)
        except Failed as failed:
            path = folder / f"{NAME}_{options['agent_name']}_failure.json"
            path.write_text(json.dumps({"status": failed.status, "error": str(failed)}), encoding="utf-8")
            raise RuntimeError(str(failed)) from None

    module.run_single_query = run_single_query


def use_local_data(loader, folder: Path) -> None:
    """Read the questions of a folder; the script's loader downloads them."""

    class Local(loader.WideSearchDataLoader):
        def __init__(self):
            lines = (folder / "widesearch.jsonl").read_text(encoding="utf-8").splitlines()
            self.data = {}
            for item in (json.loads(line) for line in lines if line.strip()):
                if isinstance(item["evaluation"], str):
                    item["evaluation"] = json.loads(item["evaluation"])
                answer = folder / "widesearch_gold" / f"{item['instance_id']}.csv"
                item["answer"] = self.load_answer(str(answer), item["evaluation"]["required"])
                if item["answer"] is None:
                    raise SystemExit(f"`{answer}` is missing or lacks a required column")
                names = ("instance_id", "query", "evaluation", "answer", "language")
                self.data[item["instance_id"]] = loader.WideSearchQuery(**{name: item[name] for name in names})

    loader.WideSearchDataLoaderHF = Local


def forget_failures(folder: Path) -> None:
    """Remove what failed in an earlier call, so that the script runs it again; all else is kept."""
    for path in folder.glob(f"{NAME}_*_failure.json"):
        path.unlink()
    for path in folder.glob(f"{NAME}_*_eval_result.json"):
        try:
            message = json.loads(path.read_text(encoding="utf-8"))["msg"]
        except (ValueError, KeyError):
            message = "response is None"
        if message == "response is None" or "JudgeFailed" in message:
            path.unlink()


def main(*arguments: str) -> None:
    """Run one stage."""
    settings = dict(argument.split("=", 1) for argument in arguments)
    folder, checkout = Path(settings["folder"]), settings["checkout"]
    forget_failures(folder)
    # Imported at the top of its modules and used for services that are not asked here, or for a download.
    stubs: dict[str, tuple[str, ...]] = {"volcenginesdkarkruntime": ("Ark",)}
    if settings.get("data"):
        stubs |= {"datasets": ("load_dataset",), "huggingface_hub": ("snapshot_download", "try_to_load_from_cache")}
    for name, names in stubs.items():
        sys.modules[name] = types.ModuleType(name)
        for one in names:
            setattr(sys.modules[name], one, None)
    sys.path.insert(0, checkout)
    import src.utils.llm as llm

    llm.llm_completion = completion_with(settings)
    llm.model_config[NAME] = {"model_name": NAME, "base_url": "", "api_key": ""}
    import src.agent.run as run
    import src.agent.tools as tools
    import src.evaluation.data_loader as loader

    replace_tools(tools)
    keep_failures(run, folder)
    if settings.get("data"):
        use_local_data(loader, Path(settings["data"]))
    script = Path(checkout) / "scripts" / "run_infer_and_eval_batching.py"
    sys.argv = [
        str(script), "--trial_num", settings["trials"], "--model_config_name", NAME, "--response_root", str(folder),
        "--result_save_root", str(folder), "--stage", settings["stage"], "--thread_num", settings["threads"], "--use_cache",
    ]  # fmt: skip
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
