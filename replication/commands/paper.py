"""Build figures, tables, verdicts and paper.pdf of a study: freeze, analyse, numbers, draw, typeset.

    python -m replication paper study=reanalysis

Freezing copies a study out of the store into data/<study> of the paper's folder; every later step reads only those files
and the packaged evidence, so the paper is rebuilt without the store. The folder is paper/ for the study that README
shows, else outputs/<study>/, or `paths.paper`; there a study that was not collected is taken from paper/data, if it is
frozen there. Where no input has changed since the last build, nothing is built.
"""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from replication import settings
from replication.errors import AnalysisError
from replication.files import DIGITS, write_json
from replication.publish import stamp
from replication.publish.glyphs import missing_characters
from replication.publish.readme import read_verdicts, terminal
from replication.publish.typst import copy_sources, typeset
from replication.records import Verdict, to_json
from replication.store import fingerprint
from replication.store.frozen import copy_frozen, is_frozen, take_frozen
from replication.store.locking import locked

SOURCES = settings.CONF.parent / "paper"
"""The folder of paper.typ and refs.bib."""
CLAIMS = settings.CONF / "claim"


class Built(NamedTuple):
    """The verdicts of a build and the files that it wrote."""

    verdicts: list[Verdict]
    outputs: list[Path]


def build(
    study: str,
    kind: str,
    *,
    results: Path,
    paper: Path,
    claims: Path,
    analysis: settings.Analysis,
    beside: Sequence[str] = (),
) -> Built:
    """Freeze a study, analyse it and typeset the paper.

    study, kind : name and kind of the study.
    results : holds studies/<study>.json and store/; not needed where the study is frozen already.
    paper : holds paper.typ; data/, figures/ and paper.pdf are written there.
    claims : folder of claim files. analysis : values of conf/analysis.
    beside : other studies, frozen in the same folder, that are shown too.
    """
    from replication.analyse.analysis_settings import from_conf
    from replication.analyse.claims import load_claims
    from replication.analyse.results import analyse
    from replication.publish.numbers import collect_numbers
    from replication.publish.outputs import draw, require_own_folder, write_tables
    from replication.store.frozen import freeze, read_frozen

    data = paper / "data"
    frozen = None
    if kind != "reanalysis":
        require_own_folder(study)
        freeze(study, results, data)
        frozen = read_frozen(study, data)
        if frozen.about.kind != kind:
            raise AnalysisError(
                f"study `{study}` was collected as of kind `{frozen.about.kind}`, and conf/ states `{kind}`. Correct "
                f"`study.kind`, or write the index again with `python -m replication gather study={study}`."
            )
    others = [read_frozen(name, data) for name in beside]
    study_results = analyse(study, kind, load_claims(claims), from_conf(analysis), frozen, others)
    verdicts = write_json(data / "verdicts.json", [to_json(v) for v in study_results.verdicts], digits=DIGITS)
    tables = write_tables(study_results, data)
    figures = draw(study_results, paper / "figures")
    numbers = write_json(data / "numbers.json", collect_numbers(study_results, figures), digits=DIGITS)
    return Built(study_results.verdicts, [verdicts, *tables, numbers, *figures.values(), typeset(paper)])


def main(cfg: settings.Root) -> None:
    """Build the paper of the configured study, unless it is up to date, and print its verdicts.

    A second build in the same folder is refused while the first one writes, because their files would mix.
    """
    paper = settings.paper_folder(cfg.paths, cfg.study.name)
    with locked(paper / ".build") if os.name != "nt" else contextlib.nullcontext():
        _build_if_changed(cfg, paper)


def _shown_beside(cfg: settings.Root, paper: Path, frozen: Path) -> list[str]:
    """List the frozen studies that this paper shows in addition to its own study.

    These are `paths.also_shown` for README's study and for any study built in the repository's paper/ folder, else none.
    """
    if cfg.study.name != cfg.paths.readme_study and paper.resolve() != SOURCES.resolve():
        return []
    beside = [name for name in cfg.paths.also_shown if name != cfg.study.name]
    missing = [name for name in beside if not is_frozen(name, frozen)]
    if missing:
        raise AnalysisError(
            f"`paths.also_shown` names {', '.join(f'`{name}`' for name in missing)}, not frozen in {frozen}. Restore what "
            f"is missing there, or name other studies, for example `paths.also_shown=[]`."
        )
    return beside


def _build_if_changed(cfg: settings.Root, paper: Path) -> None:
    results, claims, frozen = Path(cfg.paths.results), CLAIMS, SOURCES / "data"
    beside = _shown_beside(cfg, paper, frozen)
    if paper.resolve() != SOURCES.resolve():
        copy_sources(SOURCES, paper)
        if take_frozen(cfg.study.name, results, frozen, paper / "data"):
            print(f"paper: study `{cfg.study.name}` was not collected here; what is frozen in paper/data is shown\n")
        for name in beside:
            copy_frozen(name, frozen, paper / "data")
    study: dict[str, Any] = {"study": cfg.study.name, "kind": cfg.study.kind}
    data = {name: fingerprint.hash_files(sorted((paper / "data" / name).glob("*"))) for name in beside}
    configured = {**study, "analysis": dataclasses.asdict(cfg.analysis), "beside": data}
    inputs = stamp.inputs(paper, settings=configured, claims=claims, study=cfg.study.name, results=results)
    outputs = stamp.unchanged_outputs(paper, inputs)
    if outputs:
        verdicts = read_verdicts(paper / "data/verdicts.json")
        print(f"nothing has changed since the last build of {paper}; it is not built again\n")
    else:
        verdicts, outputs = build(
            **study, results=results, paper=paper, claims=claims, analysis=cfg.analysis, beside=beside
        )
        outputs = list(dict.fromkeys([*outputs, *sorted((paper / "data" / cfg.study.name).glob("*"))]))
        stamp.write(paper, inputs, outputs)
    print(terminal(verdicts, outputs))
    if not any(verdict.study == cfg.study.name for verdict in verdicts):
        print(
            f"no claim names studies of kind `{cfg.study.kind}`, so study `{cfg.study.name}` answers none; see conf/claim"
        )
    lacking = missing_characters((paper / "data/numbers.json").read_text(encoding="utf-8"))
    if lacking:
        print(f"paper: WARNING, boxes stand for the characters {lacking}, which the paper's fonts lack")
