"""Stand-in of a module of WideSearch: questions with a table each."""

import csv
import json
from dataclasses import asdict, dataclass

from datasets import load_dataset  # noqa: F401, as the real one imports what is never used here


@dataclass
class WideSearchQuery:
    instance_id: str
    query: str
    evaluation: dict
    answer: list
    language: str


@dataclass
class WideSearchResponse:
    instance_id: str
    response: str
    messages: list
    trial_idx: int


class WideSearchDataLoader:
    def load_answer(self, path, required):
        with open(path, encoding="utf-8") as file:
            return list(csv.reader(file))[1:]


class WideSearchDataLoaderHF:
    def __init__(self):
        raise RuntimeError("the driver must replace this")


def dump(response, path):
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(asdict(response)) + "\n")
