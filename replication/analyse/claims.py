"""Read conf/claim/*.yaml into `Claim` records, refusing whatever is incomplete or misspelt."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import get_args

import yaml

from replication.errors import ClaimError
from replication.records import Claim, Target

RULES: Mapping[str, tuple[str, ...]] = {
    "published_on_all": ("alpha", "icc", "rho"),
    "average_effect": ("alpha", "sesoi", "icc", "rho"),
    "above_control": ("alpha", "sesoi"),
    "replicates_rows": ("alpha", "sesoi", "tau", "beside"),
    "on_all_benchmarks": ("alpha", "sesoi", "equivalence_refutes"),
    "on_all_scaffolds": ("alpha",),
    "on_all_scales": ("alpha", "sesoi"),
    "cheaper": ("alpha",),
}
"""Decision rules (verdicts.py) and the parameters that each of them needs."""

SOURCE_KEYS = ("reference", "place", "url", "date_read")

COMPARE_KEYS = ("treatment", "control", "published_treatment", "published_control", "published_pairs")
"""Arms of a study of ours; arms of the published table where they have other names; or the benchmarks on which published
pairs of models compare what the arms stand for, a list in one string."""

PROPOSITIONS = ("A", "B", "C", "D", "E", "P")
STUDIES = ("reanalysis", "controlled", "released")


def load_claims(folder: Path) -> list[Claim]:
    """Load every claim of a folder, sorted by file name; the file is named after the claim's id."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise ClaimError(f"{folder}: no claim files (*.yaml) found.")
    return [load_claim(path) for path in paths]


def load_claim(path: Path) -> Claim:
    """Load one claim; an error names the file and the key."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ClaimError(f"{path.name}: cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise ClaimError(f"{path.name}: must be a mapping of keys to values.")

    fields = {field.name: field for field in dataclasses.fields(Claim)}
    _check_keys(path, "", content, allowed=fields)
    optional = {name for name, field in fields.items() if field.default_factory is not dataclasses.MISSING}
    _check_present(path, "", content, needed=[name for name in fields if name not in optional])

    source = content["source"]
    if not isinstance(source, dict):
        raise ClaimError(f"{path.name}: `source` must hold {', '.join(SOURCE_KEYS)}.")
    _check_keys(path, "source.", source, allowed=SOURCE_KEYS)
    _check_present(path, "source.", source, needed=SOURCE_KEYS)

    _check_choice(path, "proposition", content["proposition"], PROPOSITIONS)
    _check_choice(path, "made_by", content["made_by"], ("paper", "press"))
    _check_choice(path, "target", content["target"], get_args(Target))
    _check_choice(path, "rule", content["rule"], RULES)
    for study in content["studies"]:
        _check_choice(path, "studies", study, STUDIES)
    parameters = content.get("parameters", {})
    _check_keys(path, "parameters.", parameters, allowed=RULES[content["rule"]])
    _check_present(path, "parameters.", parameters, needed=RULES[content["rule"]])
    compare = content.get("compare", {})
    _check_keys(path, "compare.", compare, allowed=COMPARE_KEYS)
    _check_present(path, "compare.", compare, needed=("treatment", "control"))

    if content["id"] != path.stem:
        raise ClaimError(f"{path.name}: `id` must be the file's name, {path.stem}; got {content['id']!r}.")
    return Claim(
        **{
            **content,
            "statement": " ".join(content["statement"].split()),
            "source": {key: str(value) for key, value in source.items()},
            "studies": tuple(content["studies"]),
            "unspecified": tuple(content.get("unspecified", ())),
        }
    )


def _check_keys(path: Path, prefix: str, given: Mapping, allowed: Iterable[str]) -> None:
    allowed = list(allowed)
    for key in given:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, n=1)
            hint = f"did you mean `{prefix}{near[0]}`?" if near else f"allowed are {', '.join(allowed)}."
            raise ClaimError(f"{path.name}: unknown key `{prefix}{key}`; {hint}")


def _check_present(path: Path, prefix: str, given: Mapping, needed: Iterable[str]) -> None:
    for key in needed:
        if given.get(key) in (None, "", []):
            raise ClaimError(f"{path.name}: `{prefix}{key}` is missing or empty.")


def _check_choice(path: Path, key: str, value: object, allowed: Iterable[str]) -> None:
    allowed = list(allowed)
    if value not in allowed:
        raise ClaimError(f"{path.name}: `{key}` must be one of {', '.join(allowed)}; got {value!r}.")
