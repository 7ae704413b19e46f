"""Answers to BFCL's items from the data of the installed harness: the right calls, so that its score must be 1."""

import ast
import json
from pathlib import Path

PREFIX = "BFCL_v4_"


class Oracle:
    """`answer(body)` is a function for a ChatEndpoint; items in `wrong` get no call, or one where none is right."""

    def __init__(self, data: Path, categories, wrong=()):
        self.wrong, self.items = set(wrong), []
        for category in categories:
            key = data / "possible_answer" / f"{PREFIX}{category}.json"
            truth = {row["id"]: row["ground_truth"] for row in _rows(key)} if key.is_file() else {}
            self.items += [(row, truth.get(row["id"], [])) for row in _rows(data / f"{PREFIX}{category}.json")]

    def answer(self, body: dict) -> str | dict:
        users = [message["content"] for message in body["messages"] if message["role"] == "user"]
        found = [item for item in self.items if self._is_asked(item[0], users, body.get("tools", []))]
        assert len(found) == 1, (users, [row["id"] for row, _ in found])
        row, truth = found[0]
        if row["id"] in self.wrong:
            return "I cannot." if truth else _message([(body["tools"][0]["function"]["name"], {})])
        if body["messages"][-1]["role"] != "user" or not truth:
            return "Done."
        if row["id"].startswith("multi_turn"):
            return _message([_parsed(text, body["tools"]) for text in truth[len(users) - 1]])
        required = {f["name"]: f["parameters"].get("required", []) for f in row["function"]}
        return _message(
            [
                (name.replace(".", "_"), _chosen(values, required[name]))
                for call in truth
                for name, values in call.items()
            ]
        )

    @staticmethod
    def _is_asked(row, users, tools) -> bool:
        texts = [turn[-1]["content"] for turn in row["question"] if turn]
        if texts[: len(users)] != users:
            return False
        names = {tool["function"]["name"] for tool in tools}
        return "function" not in row or names == {f["name"].replace(".", "_") for f in row["function"]}


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _plain(value):
    """Take the first of the alternatives that the key lists at every level."""
    if isinstance(value, dict):
        return {name: _plain(options[0]) for name, options in value.items() if options[0] != ""}
    return [_plain(part) for part in value] if isinstance(value, list) else value


def _chosen(values: dict, required) -> dict:
    """Leave out what the key marks as optional by an empty text, unless the tool requires it."""
    filled = {name: next((o for o in options if o != ""), None) for name, options in values.items()}
    return {
        name: _plain(v) for name, v in filled.items() if v is not None and (values[name][0] != "" or name in required)
    }


def _parsed(text: str, tools) -> tuple[str, dict]:
    """Read a call written as Python; positional arguments get the names of the tool's parameters."""
    call = ast.parse(text, mode="eval").body
    name = call.func.id
    names = next(list(t["function"]["parameters"]["properties"]) for t in tools if t["function"]["name"] == name)
    arguments = {key: ast.literal_eval(value) for key, value in zip(names, call.args)}
    return name, arguments | {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}


def _message(calls) -> dict:
    functions = [{"name": name, "arguments": json.dumps(arguments)} for name, arguments in calls]
    return {
        "role": "assistant", "content": None,
        "tool_calls": [{"id": f"c{i}", "type": "function", "function": f} for i, f in enumerate(functions)],
    }  # fmt: skip
