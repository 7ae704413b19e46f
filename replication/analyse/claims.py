"""Load conf/claim/*.yaml as `Claim` records; an incomplete or misspelt claim is an error."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from replication.analyse.rules.registry import RULES
from replication.analyse.rules.shared import LIKE_THESE, THESE
from replication.errors import ClaimError
from replication.records import Claim, Proposition, Target
from replication.settings import CONF, KINDS

SOURCE_KEYS = ("reference", "place", "url", "date_read")

COMPARE_KEYS = (
    "treatment", "control", "public_treatment", "public_control", "published_treatment", "published_control",
    "published_pairs",
)  # fmt: skip
"""Arms of a collected study; roles of public checkpoints and arms of the published table where they have other names; or the
leaderboards, separated by spaces, whose published pairs of models make the same comparison."""


def study_kinds(folder: Path = CONF / "study") -> list[str]:
    """List the kinds of study in alphabetical order: `settings.KINDS`, and `study.kind` of every file of conf/study."""
    files = [_yaml(path) for path in sorted(folder.glob("*.yaml"))]
    return sorted({*KINDS, *(file["study"]["kind"] for file in files if "kind" in file.get("study", {}))})


def load_claims(folder: Path) -> list[Claim]:
    """Load every claim of a folder, sorted by file name; the file is named after the claim's id."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise ClaimError(f"{folder}: has no claim files (*.yaml).")
    kinds = study_kinds()
    return [load_claim(path, kinds) for path in paths]


def load_claim(path: Path, kinds: Sequence[str] | None = None) -> Claim:
    """Load one claim; an error names the file and the key.

    kinds : kinds of study that a claim may name; None: those of conf/study.
    """
    content = _content(path)
    _check_source(path, content["source"])
    _check_choice(path, "proposition", content["proposition"], get_args(Proposition))
    _check_choice(path, "made_by", content["made_by"], ("paper", "press"))
    _check_choice(path, "target", content["target"], get_args(Target))
    _check_choice(path, "rule", content["rule"], RULES)
    for study in content["studies"]:
        _check_choice(path, "studies", study, study_kinds() if kinds is None else kinds)
    _check_all_present(path, "parameters.", content.get("parameters", {}), RULES[content["rule"]].parameters)
    _check_mean(path, content.get("parameters", {}).get("mean"))
    compare = content.get("compare", {})
    _check_keys(path, "compare.", compare, allowed=COMPARE_KEYS)
    _check_present(path, "compare.", compare, required=("treatment", "control"))
    if content["id"] != path.stem:
        raise ClaimError(f"{path.name}: `id` must be the file's name, {path.stem}; got {content['id']!r}.")
    return Claim(
        **{
            **content,
            "statement": " ".join(content["statement"].split()),
            "source": {key: str(value) for key, value in content["source"].items()},
            "studies": tuple(content["studies"]),
            "unspecified": tuple(content.get("unspecified", ())),
        }
    )


def _yaml(path: Path) -> Any:
    """Read a YAML file by libyaml's safe loader, several times as fast as the one in Python, where it is built in."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _content(path: Path) -> dict[str, Any]:
    """Read the file as a mapping that has the keys of a claim."""
    try:
        content = _yaml(path)
    except (OSError, yaml.YAMLError) as error:
        raise ClaimError(f"{path.name}: cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise ClaimError(f"{path.name}: must be a mapping of keys to values.")

    fields = {field.name: field for field in dataclasses.fields(Claim)}
    _check_keys(path, "", content, allowed=fields)
    optional = {name for name, field in fields.items() if field.default_factory is not dataclasses.MISSING}
    _check_present(path, "", content, required=[name for name in fields if name not in optional])
    return content


def _check_source(path: Path, source: object) -> None:
    if not isinstance(source, dict):
        raise ClaimError(f"{path.name}: `source` must have {', '.join(SOURCE_KEYS)}; got {source!r}.")
    _check_all_present(path, "source.", source, SOURCE_KEYS)


def _check_mean(path: Path, mean: object) -> None:
    """Check which mean over benchmarks decides, and that the claim says why."""
    if mean is None:
        return
    if not isinstance(mean, dict):
        raise ClaimError(f"{path.name}: `parameters.mean` must have `over` and `because`; got {mean!r}.")
    _check_all_present(path, "parameters.mean.", mean, ("over", "because"))
    _check_choice(path, "parameters.mean.over", mean["over"], (THESE, LIKE_THESE))


def _check_all_present(path: Path, prefix: str, given: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Check for exactly these keys."""
    _check_keys(path, prefix, given, allowed=keys)
    _check_present(path, prefix, given, required=keys)


def _check_keys(path: Path, prefix: str, given: Mapping[str, Any], allowed: Iterable[str]) -> None:
    allowed = list(allowed)
    for key in given:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, n=1)
            hint = f"did you mean `{prefix}{near[0]}`?" if near else f"allowed are {', '.join(allowed)}."
            raise ClaimError(f"{path.name}: unknown key `{prefix}{key}`; {hint}")


def _check_present(path: Path, prefix: str, given: Mapping[str, Any], required: Iterable[str]) -> None:
    for key in required:
        if given.get(key) in (None, "", []):
            raise ClaimError(f"{path.name}: `{prefix}{key}` is missing or empty.")


def _check_choice(path: Path, key: str, value: object, allowed: Iterable[str]) -> None:
    allowed = list(allowed)
    if value not in allowed:
        raise ClaimError(f"{path.name}: `{key}` must be one of {', '.join(allowed)}; got {value!r}.")
