"""What must not change unnoticed: the texts that models see and the verdicts on the published table.

`make golden` rewrites the files beside this one; read the diff before you commit it.
"""

import json
import os
from pathlib import Path

import pytest

from replication.analyse import analysis_settings, reanalysis
from replication.analyse.claims import load_claims
from replication.analyse.verdicts import decide
from replication.collect import scaffolds
from replication.collect.benchmarks import suite
from replication.collect.training import corpora
from replication.records import Message, to_json
from replication.settings import CONF

HERE = Path(__file__).parent


def hold(name: str, text: str) -> None:
    """Compare with the golden file, or rewrite it."""
    path = HERE / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def shown(messages: list[Message]) -> str:
    return "\n".join(f"[{m.role}] {m.content}" for m in messages)


@pytest.mark.parametrize("name", ["calling", "terminal"])
def test_expert_episodes_read_as_they_did(name):
    bench, scaffold = suite.load(name), scaffolds.load("compact")
    episodes = []
    for level in suite.LEVELS:
        for task, draft in bench.items("evaluation", level, 2, 0):
            world, messages = bench.start(task), scaffold.open(task)
            for action in draft.expert:
                messages.append(Message(role="assistant", content=scaffold.write(action)))
                if action.calls:
                    messages.append(scaffold.observe([world.step(call) for call in action.calls]))
            episodes.append(f"== {task.id} {task.content_hash}\n{shown(messages)}\n")
    hold(f"{name}.txt", "\n".join(episodes))


@pytest.mark.parametrize("name", ["general", "episodes", "transitions"])
def test_training_documents_read_as_they_did(name):
    documents = corpora.named(name, (("terminal", (1, 2)),))(0, 0)[:6]
    hold(f"corpus_{name}.txt", "\n====\n".join(d.text for d in documents))


def test_verdicts_on_the_published_table_are_as_they_were():
    claims = load_claims(CONF / "claim")
    data = reanalysis.study_data(claims, analysis_settings.default())

    def rounded(value):
        if isinstance(value, float):
            return float(f"{value:.6g}")
        if isinstance(value, dict):
            return {k: rounded(v) for k, v in value.items()}
        return [rounded(v) for v in value] if isinstance(value, list) else value

    verdicts = [rounded(to_json(v)) for v in decide(claims, data)]
    hold("reanalysis_verdicts.json", json.dumps(verdicts, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
