"""The GPUs that this process may use, as NVML reports them: name, driver, energy, and whether others use them too."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from replication.records import Json


class Card(NamedTuple):
    """A GPU."""

    handle: Any
    """NVML's."""
    facts: dict[str, Json]
    """name, memory_gib, driver."""


class NamedCard(NamedTuple):
    """A GPU by the name that selects it."""

    name: str
    """For CUDA_VISIBLE_DEVICES."""
    memory_gib: float


def named() -> list[NamedCard]:
    """List the GPUs of `visible` by the names that CUDA_VISIBLE_DEVICES has for them, or by their positions."""
    cards, devices = visible(), os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(at) for at in range(len(cards))] if devices is None else [name.strip() for name in devices.split(",")]
    return [NamedCard(name, card.facts["memory_gib"]) for name, card in zip(names, cards, strict=False)]


def visible() -> list[Card]:
    """List the GPUs that CUDA_VISIBLE_DEVICES leaves visible, in its order; empty without NVML or without a GPU.

    NVML, not CUDA: a CUDA context in this process would take memory from the engine. Cards are in the order of their bus,
    which is CUDA's where all are of one kind. Parts of a card (MIG) are not listed.
    """
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        every = [pynvml.nvmlDeviceGetHandleByIndex(at) for at in range(pynvml.nvmlDeviceGetCount())]
        uuids = [_text(pynvml.nvmlDeviceGetUUID(handle)) for handle in every]
        return [
            Card(
                every[at],
                {
                    "name": _text(pynvml.nvmlDeviceGetName(every[at])),
                    "memory_gib": round(pynvml.nvmlDeviceGetMemoryInfo(every[at]).total / 2**30, 1),
                    "driver": driver,
                },
            )
            for at in chosen(os.environ.get("CUDA_VISIBLE_DEVICES"), uuids)
        ]  # fmt: skip
    except pynvml.NVMLError:
        return []


def chosen(devices: str | None, uuids: Sequence[str]) -> list[int]:
    """Return the positions that a value of CUDA_VISIBLE_DEVICES selects; as for CUDA, the first unknown one ends the list.

    devices : positions or beginnings of UUIDs, with commas between; None selects all.
    """
    if devices is None:
        return list(range(len(uuids)))
    positions: list[int] = []
    for name in (part.strip() for part in devices.split(",")):
        if name.isdecimal():
            found = [int(name)] if int(name) < len(uuids) else []
        else:
            found = [at for at, uuid in enumerate(uuids) if name and uuid.startswith(name)]
        if len(found) != 1 or found[0] in positions:
            break
        positions += found
    return positions


def joules(cards: Sequence[Card]) -> tuple[float, ...] | None:
    """Read the energy that each card has used since its driver was loaded; None where one does not report it."""
    if not cards:
        return None
    import pynvml

    try:
        return tuple(pynvml.nvmlDeviceGetTotalEnergyConsumption(card.handle) / 1000 for card in cards)
    except pynvml.NVMLError:
        return None


def has_several_processes(cards: Sequence[Card]) -> bool:
    """Tell whether NVML lists more than one computing process on a card; in a container it may list none."""
    if not cards:
        return False
    import pynvml

    try:
        return any(len(pynvml.nvmlDeviceGetComputeRunningProcesses(card.handle)) > 1 for card in cards)
    except pynvml.NVMLError:
        return False


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
