"""Stand-in of the script of WideSearch: same options and files; an item is right if the last column's judge says so."""

import asyncio
import json
import sys
import traceback
from pathlib import Path

from src.agent.run import run_single_query
from src.evaluation.data_loader import WideSearchDataLoaderHF, WideSearchResponse, dump
from src.utils.llm import llm_completion

PROMPT = "====== response-start ======\n{pairs}\n====== response-end ======"


def infer(query, trial, path):
    messages = asyncio.run(run_single_query(query=query.query, agent_name=f"{query.instance_id}_{trial}",
                                            model_config_name=options["--model_config_name"]))  # fmt: skip
    last = messages[-1]["content"]
    dump(
        WideSearchResponse(query.instance_id, last["content"] if isinstance(last, dict) else last, messages, trial),
        path,
    )


def evaluate(query, path):
    names = [f"{name}_by_{by}" for by in ("row", "item") for name in ("precision", "recall", "f1")]
    result = {"instance_id": query.instance_id, "score": 0.0, "msg": "", **dict.fromkeys(names, 0.0)}
    if not path.is_file():
        return result | {"msg": "response is None"}, ""
    answer = json.loads(path.read_text(encoding="utf-8"))["response"]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in answer.splitlines() if line.startswith("|")][
        2:
    ]
    if not rows:
        return result | {"msg": "response_df is None"}, ""
    try:
        pairs = {f"idx_{n}": {"response": row[-1], "target": right[-1]}
                 for n, (row, right) in enumerate(zip(rows, query.answer, strict=True))}  # fmt: skip
        reply = llm_completion(PROMPT.format(pairs=pairs), model_config_name="default_eval_config")
        graded = json.loads(reply.content.split("```json")[1].split("```")[0])
    except Exception:
        return result | {"msg": f"evaluator error: \n{traceback.format_exc()}"}, ""
    right = sum(graded.get(name, 0) for name in pairs) + sum(
        a == b for row, key in zip(rows, query.answer, strict=True) for a, b in zip(row[:-1], key[:-1], strict=True)
    )
    share = right / sum(map(len, query.answer))
    return result | {name: share for name in names if name.endswith("item")} | {"msg": "table"}, "a_llm_judge\n1\n"


options = dict(zip(sys.argv[1:-1:2], sys.argv[2::2], strict=False))
root, name = Path(options["--response_root"]), options["--model_config_name"]
loader = WideSearchDataLoaderHF()
for instance, query in loader.data.items():
    for trial in range(int(options["--trial_num"])):
        answer = root / f"{name}_{instance}_{trial}_response.jsonl"
        graded = root / f"{name}_{instance}_{trial}_eval_result.json"
        try:
            if options["--stage"] == "both" and not answer.is_file():
                infer(query, trial, answer)
        except Exception as error:
            print(error)
        if not graded.is_file():
            result, columns = evaluate(query, answer)
            graded.write_text(json.dumps(result), encoding="utf-8")
            graded.with_suffix(".csv").write_text(columns, encoding="utf-8")
