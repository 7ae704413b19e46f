"""Program that runs in the environment of Claw-Eval or QwenClawBench: grades stored outputs with the tool's own graders.

Run: python -P regrade_driver.py tool=claw_eval|qwenclawbench checkout=... outputs=... folder=... judge=... attempts=3
     workers=8

Nothing is played. The judge answers at the Unix socket REPLICATION_JUDGE_SOCKET with REPLICATION_JUDGE_KEY, so that this
program, whose graders read and may run what a model wrote, needs no network. Each attempt gets a file in `folder`, and one
that is there is kept; a judge that gave no score leaves a failure and never a 0.
"""

import base64
import http.client
import json
import os
import shutil
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

CUT = 2000
"""Characters of a command's output that Claw-Eval stores; one with so many may be cut off."""
SUBSET = "qwenclawbench-v1.1-100"
WAITS = threading.local()
"""Failed requests of one judgement; attempts are graded side by side."""


class JudgeFailed(BaseException):
    """No score of the judge; no `except Exception` of a grader may turn it into one."""


class Unusable(Exception):
    """What was stored is not all that the grader read."""


def ask(settings: dict, body: dict) -> dict:
    """Ask the judge; RuntimeError if it refuses, OSError if it is gone."""
    connection = http.client.HTTPConnection("judge", timeout=1800)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(os.environ["REPLICATION_JUDGE_SOCKET"])
    headers = {"Authorization": f"Bearer {os.environ['REPLICATION_JUDGE_KEY']}", "Content-Type": "application/json"}
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body | {"model": settings["judge"]}), headers)
        answer = connection.getresponse()
        data = answer.read().decode("utf-8", "replace")
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"the judge answered {answer.status}: {data[:300]}")
    return json.loads(data)


# ---- Claw-Eval: traces, of which batch_results.json lists the attempts


def claw_eval(settings: dict) -> None:
    """Write batch_results.json with new scores; counts and times are those of the attempts."""
    outputs, folder = Path(settings["outputs"]), Path(settings["folder"])
    (old,) = [*outputs.glob("batch_results.json"), *outputs.glob("*/batch_results.json")]
    tasks = json.loads(old.read_text(encoding="utf-8"))
    played = [trial for task in tasks for trial in task.get("trials") or () if not trial.get("error")]
    (folder / "trials").mkdir(exist_ok=True)
    with ThreadPoolExecutor(int(settings["workers"])) as pool:
        jobs = [(settings, old.parent / Path(trial["trace"]).name, task["task_id"])
                for task in tasks for trial in task.get("trials") or () if not trial.get("error")]  # fmt: skip
        graded = iter(list(pool.map(claw_eval_trial, *zip(*jobs, strict=True))) if jobs else [])
    for trial in played:
        trial.update(next(graded))
    for task in tasks:
        kept = ("task_id", "task_name", "trials", "error")
        for name in [name for name in task if name not in kept]:
            del task[name]  # means and counts of the old scores
    path = folder / ".batch_results.json"
    path.write_text(json.dumps(tasks), encoding="utf-8")
    path.replace(folder / "batch_results.json")


def claw_eval_trial(settings: dict, trace: Path, task_id: str) -> dict:
    """Grade one attempt, or read its new grade."""
    done = Path(settings["folder"]) / "trials" / f"{trace.stem}.json"
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    try:
        found = claw_eval_scores(settings, trace, task_id)
    except JudgeFailed as failed:
        return {"error": f"judge failed: {failed}"}
    except Unusable as lost:
        return {"error": f"stored outputs are not enough to grade again: {lost}"}
    except Exception as error:  # of a grader, for this attempt only, as in the tool's own loop
        return {"error": f"grader failed: {error!r}"}
    done.with_suffix(".tmp").write_text(json.dumps(found), encoding="utf-8")
    done.with_suffix(".tmp").replace(done)
    return found


def claw_eval_scores(settings: dict, trace: Path, task_id: str) -> dict:
    """Call the tool's loader, grader and formula as its own loop does."""
    from claw_eval import cli
    from claw_eval.graders import llm_judge
    from claw_eval.graders.registry import get_grader
    from claw_eval.models.scoring import compute_task_score, is_pass
    from claw_eval.models.task import TaskDefinition
    from claw_eval.trace.reader import load_trace

    if not trace.is_file():
        raise Unusable(f"no trace {trace.name}")
    tasks = Path(settings["checkout"]) / "tasks"
    # A few folders have another name than their task.
    (folder,) = [tasks / task_id] if (tasks / task_id).is_dir() else [
        path.parent for path in tasks.glob("*/task.yaml") if f"task_id: {task_id}\n" in path.read_text(encoding="utf-8")
    ]  # fmt: skip
    task = TaskDefinition.from_yaml(folder / "task.yaml")
    _, messages, dispatches, media, _, audit = load_trace(trace)
    scores, _ = cli._grade_with_optional_params(
        get_grader(task_id, tasks_dir=folder.parent, task_dir=folder), messages, dispatches, task, audit_data=audit,
        judge=claw_eval_judge(settings, llm_judge), media_events=media, env_snapshot=snapshot(trace, task, folder),
    )  # fmt: skip
    score = compute_task_score(scores)
    names = ("completion", "robustness", "communication", "safety")
    return {**{name: getattr(scores, name) for name in names}, "task_score": score, "passed": is_pass(score)}


def claw_eval_judge(settings: dict, module):
    """Return the tool's judge with our client; it waits before 30 repetitions, and then returns None."""
    judge = module.LLMJudge(model_id=settings["judge"], api_key="unused", base_url="http://unused")

    def create(**body):
        return json.loads(json.dumps(ask(settings, body)), object_hook=lambda fields: _Reply(**fields))

    def sleep(_):
        WAITS.count += 1
        if WAITS.count >= int(settings["attempts"]):
            raise JudgeFailed(f"no score after {WAITS.count} requests")

    def counted(method):
        def call(*arguments, **options):
            WAITS.count = 0
            found = method(*arguments, **options)
            if found is None:
                raise JudgeFailed("no score")
            return found

        return call

    for name in ("evaluate", "evaluate_actions", "evaluate_visual"):
        setattr(judge, name, counted(getattr(judge, name)))
    judge.client = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))
    module.time = SimpleNamespace(sleep=sleep)
    return judge


class _Reply(SimpleNamespace):
    """A completion as openai returns it: a field that a server leaves out is None."""

    def __getattr__(self, name: str) -> None:
        return None


def snapshot(trace: Path, task, folder: Path) -> dict | None:
    """Return what the grader read of the sandbox, from the files beside a trace; None if it read nothing."""
    found: dict = {}
    stored = trace.parent / f"{trace.stem}_snapshot"
    if stored.is_dir():
        index = json.loads((stored / "snapshot_index.json").read_text(encoding="utf-8"))
        names = [entry["saved_as"] for entry in index["files"] if "saved_as" in entry]
        if len(set(names)) != len(names):
            raise Unusable("two files of the sandbox were stored under one name")
        for entry in index["files"]:
            found[f"file:{entry['container_path']}"] = _stored_file(stored, entry)
        for entry in index["commands"]:
            if CUT in (len(entry["stdout"]), len(entry["stderr"])):
                raise Unusable("the output of a command was cut off when it was stored")
            values = {name: value for name, value in entry.items() if name != "cmd" and value is not None}
            found[f"cmd:{entry['cmd']}"] = values
    # Without that folder it was played without a container, and the tool had nothing of it to read either.
    for name in getattr(task, "local_grader_files", ()) or ():
        path = folder / name
        there = (
            {"encoding": "base64", "content": base64.b64encode(path.read_bytes()).decode()} if path.exists() else None
        )
        found[f"local_file:{name}"] = there or {"error": f"not found: {path}"}
    return found or None


def _stored_file(stored: Path, entry: dict) -> dict:
    if "saved_as" not in entry:
        return {"error": entry["error"]}
    data = (stored / entry["saved_as"]).read_bytes()
    if "size" in entry:  # only of files that were stored as bytes
        return {"encoding": "base64", "content": base64.b64encode(data).decode()}
    return {"content": data.decode("utf-8")}


# ---- QwenClawBench: a folder for each task and run, with transcript.json and workspace/


def qwenclawbench(settings: dict) -> None:
    """Write grading.json for every stored run, or failure.json."""
    outputs = Path(settings["outputs"])
    paths = sorted([*outputs.glob("*/grading.json"), *outputs.glob("*/*/grading.json")])
    with ThreadPoolExecutor(int(settings["workers"])) as pool:
        list(pool.map(qwenclawbench_run, [settings] * len(paths), paths))


def qwenclawbench_run(settings: dict, path: Path) -> None:
    """Grade one run; one that is graded is kept."""
    target = Path(settings["folder"]) / path.parent.name
    if (target / "grading.json").is_file():
        return
    target.mkdir(exist_ok=True)
    old = json.loads(path.read_text(encoding="utf-8"))
    try:
        name, found = "grading.json", qwenclawbench_grade(settings, path.parent, target, old)
    except JudgeFailed as failed:
        name, found = "failure.json", {"status": "judge_failed", "error": f"judge failed: {failed}"}
    except Unusable as lost:
        name, found = "failure.json", {"status": "infra_error", "error": str(lost)}
    except Exception as error:  # of a grader, for this run only, as in the tool's own loop
        name, found = "failure.json", {"status": "judge_failed", "error": f"grading script failed: {error!r}"}
    (target / "failure.json").unlink(missing_ok=True)
    (target / f".{name}").write_text(json.dumps({"task_id": old["task_id"], **found}), encoding="utf-8")
    (target / f".{name}").replace(target / name)


def qwenclawbench_grade(settings: dict, source: Path, target: Path, old: dict) -> dict:
    """Call the tool's grading function on a copy of the workspace."""
    import lib_grading
    from lib_tasks import TaskLoader

    os.environ |= {"JUDGE_BASE_URL": "http://unused", "JUDGE_API_KEY": "unused"}
    lib_grading.JUDGE_API_MAX_RETRIES = int(settings["attempts"])
    lib_grading.JUDGE_API_RETRY_BASE_SECONDS = 0
    lib_grading._call_llm_judge_api = lambda prompt, **_: qwenclawbench_judge(settings, prompt)
    lib_grading._ensure_judge_agent = no_agent  # it would ask another kind of judge after the last attempt
    (task,) = [
        task for task in TaskLoader(Path(settings["checkout"]) / "data" / SUBSET / "tasks").load_all_tasks()
        if task.task_id == old["task_id"]
    ]  # fmt: skip
    if not (source / "transcript.json").is_file() or not (source / "workspace").is_dir():
        raise Unusable(f"`{source}` has no transcript.json or no workspace")
    workspace = target / "workspace"
    shutil.rmtree(workspace, ignore_errors=True)
    shutil.copytree(source / "workspace", workspace, symlinks=True)
    transcript = json.loads((source / "transcript.json").read_text(encoding="utf-8"))
    execution = old.get("execution") or {}
    result = {"transcript": transcript, "workspace": str(workspace), "status": execution.get("status", "success")}
    grade = lib_grading.grade_task(
        task=task, execution_result=result, skill_dir=Path(settings["checkout"]), judge_model=settings["judge"]
    )
    # Of a judge alone the names have no prefix; a total without JSON is one that the tool reads from prose.
    named = (
        any(name.startswith("llm_judge.") for name in grade.breakdown) or "Score extracted from prose" in grade.notes
    )
    if not (named or grade.grading_type == "automated" or (grade.grading_type == "llm_judge" and grade.breakdown)):
        raise JudgeFailed("its answer has no scores")
    # What went wrong while the run was played; errors of the old grading are not of this one.
    items = [item for item in (old.get("anomalies") or {}).get("items", ()) if not item["id"].startswith("GRADING_")]
    has_error = any(item["severity"] == "error" for item in items)
    anomalies = {"is_anomalous": bool(items), "has_error": has_error, "items": items}
    return {**grade.to_dict(), "anomalies": anomalies, "execution": execution}


def qwenclawbench_judge(settings: dict, prompt: str) -> str:
    """Ask with the parameters of the tool."""
    messages = [{"role": "user", "content": prompt}]
    reply = ask(settings, {"messages": messages, "temperature": 0.0, "max_tokens": 20480})
    return reply["choices"][0]["message"]["content"]


def no_agent(*_arguments, **_options):
    """Replace the agent that judges where the endpoint failed."""
    raise JudgeFailed("no answer of the endpoint")


if __name__ == "__main__":
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    sys.path.insert(0, f"{given['checkout']}/{'src' if given['tool'] == 'claw_eval' else 'scripts'}")
    {"claw_eval": claw_eval, "qwenclawbench": qwenclawbench}[given["tool"]](given)
