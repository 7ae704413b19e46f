"""Stand-in of the grading of QwenClawBench: waits between attempts, and an agent that judges after the last."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

JUDGE_API_MAX_RETRIES, JUDGE_API_RETRY_BASE_SECONDS = 100, 5


@dataclass
class GradeResult:
    task_id: str
    score: float
    score_simple: float
    max_score: float
    grading_type: str
    breakdown: dict
    notes: str

    def to_dict(self):
        return asdict(self)


def _call_llm_judge_api(prompt, model, base_url, api_key, timeout_seconds=1800):
    raise RuntimeError("the driver must replace this")


def _ensure_judge_agent(*arguments):
    return "agent"


def grade_task(*, task, execution_result, skill_dir, judge_model="", verbose=False):
    found = json.loads((Path(execution_result["workspace"]) / "answer.json").read_text())  # raises like a broken script
    prompt, scores = f"{task.task_id} {len(execution_result['transcript'])}", None
    for attempt in range(JUDGE_API_MAX_RETRIES):
        if attempt:
            time.sleep(JUDGE_API_RETRY_BASE_SECONDS * 2**attempt)
        try:
            text = _call_llm_judge_api(prompt=prompt, model=judge_model, base_url=os.environ["JUDGE_BASE_URL"],
                                       api_key=os.environ["JUDGE_API_KEY"], timeout_seconds=1)  # fmt: skip
            scores = json.loads(text)["scores"] if text.startswith("{") else {}
            break
        except Exception:
            continue
    if scores is None:
        _ensure_judge_agent("judge", judge_model, skill_dir)
        scores = {"agent": 1.0}
    judged = sum(scores.values()) / len(scores) if scores else 0.0
    simple = (found["automated"] + judged) / 2
    breakdown = {"automated.a": found["automated"]} | {f"llm_judge.{name}": value for name, value in scores.items()}
    score = simple if found["automated"] >= 0.75 else found["automated"] / 2
    return GradeResult(task.task_id, score, simple, 1.0, "hybrid", breakdown, "")
