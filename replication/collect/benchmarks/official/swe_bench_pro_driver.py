"""Program around mini-swe-agent on SWE-bench Pro: rows of the data set become its instances, its patches the grader's.

Run: python -P swe_bench_pro_driver.py instances CHECKOUT CSV USER FILE | patches PREDS FILE
"""

import csv
import json
import sys
from pathlib import Path


def main(stage: str, *arguments: str) -> None:
    """Write the file of a stage."""
    if stage == "instances":
        instances(*arguments)
    else:
        patches(*arguments)


def instances(checkout: str, data: str, user: str, target: str) -> None:
    """Write one line per instance, with the statement and the image as the repository's own helpers state them."""
    sys.path.insert(0, str(Path(checkout) / "helper_code"))
    from create_problem_statement import create_problem_statement
    from image_uri import get_dockerhub_image_uri

    csv.field_size_limit(2**30)
    with Path(data).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    made = [
        {
            "instance_id": row["instance_id"], "problem_statement": create_problem_statement(row),
            "image_name": "docker.io/" + get_dockerhub_image_uri(row["instance_id"], user, row["repo"]),
        }
        for row in rows
    ]  # fmt: skip
    _write(Path(target), "".join(json.dumps(row) + "\n" for row in made))


def patches(predictions: str, target: str) -> None:
    """Write the patches of preds.json as the grading script reads them."""
    found = json.loads(Path(predictions).read_text(encoding="utf-8"))
    made = [
        {"instance_id": name, "patch": entry["model_patch"] or "", "prefix": "replication"}
        for name, entry in sorted(found.items())
    ]
    _write(Path(target), json.dumps(made))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
