import json
import os
import traceback
from pathlib import Path

from bfcl_eval.constants.model_config import MODEL_CONFIG_MAPPING

TURNS = {"simple_python": 1, "irrelevance": 1, "multi_turn_base": 2}
WORLD = {}


def root():
    return Path(os.environ["BFCL_PROJECT_ROOT"])


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def cli(arguments):
    command, *rest = arguments
    options = dict(zip(rest[::2], rest[1::2])) if command == "evaluate" else {}
    assert os.environ["OPENAI_API_KEY"], "the client needs a key, even to evaluate"
    if command == "generate":
        temperature = float(os.environ.get("FAKE_TEMPERATURE", rest[rest.index("--temperature") + 1]))
        generate(MODEL_CONFIG_MAPPING["replication"], temperature)
    else:
        assert options or rest
        evaluate(rest[rest.index("--test-category") + 1].split(","))


def generate(config, temperature):
    handler = config.model_handler(config.model_name, temperature)
    wanted = json.loads((root() / "test_case_ids_to_generate.json").read_text())
    done = [row["id"] for path in (root() / "result").rglob("*_result.json") for row in rows_of(path)]
    for category, ids in wanted.items():
        for item in ids:
            if item not in done:
                handler.write(infer(handler, item, TURNS[category]), root() / "result")


def infer(handler, item, n_turns):
    messages, results = [], []
    try:
        for turn in range(n_turns):
            messages.append({"role": "user", "content": f"{item} turn {turn}"})
            reply = handler.ask(messages)["choices"][0]["message"]["content"]
            messages.append({"role": "assistant", "content": reply})
            results.append(reply)
    except Exception as error:
        return {"id": item, "result": f"Error during inference: {error}", "traceback": traceback.format_exc()}
    tokens = {"input_token_count": [[7]] * n_turns, "output_token_count": [[2]] * n_turns, "latency": [[0.5]] * n_turns}
    return {"id": item, "result": results, **tokens}


def evaluate(categories):
    for category in categories:
        paths = list((root() / "result").rglob(f"BFCL_v4_{category}_result.json"))
        for path in paths:
            rows = rows_of(path)
            failing = [row for row in rows if not right(row, category)]
            header = {"accuracy": 0.0, "correct_count": len(rows) - len(failing), "total_count": len(rows)}
            entries = [{"id": row["id"], "valid": False, "error": [], "error_type": "wrong_value"} for row in failing]
            score = root() / "score" / "replication" / f"BFCL_v4_{category}_score.json"
            score.parent.mkdir(parents=True, exist_ok=True)
            score.write_text("".join(json.dumps(line) + "\n" for line in [header, *entries]))


def right(row, category):
    if category == "irrelevance":  # anything that is no call is right, an error message too
        return row["result"] != ["call"]
    if category == "multi_turn_base":  # the state of a second evaluation is that of the first
        return WORLD.setdefault(row["id"], row["result"] == ["right", "right"])
    return row["result"] == ["right"]
