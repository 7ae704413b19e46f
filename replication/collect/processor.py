"""The processor of this machine, and whether it has instructions for a precision."""

import platform
from pathlib import Path

INSTRUCTIONS = (("avx512f", "AVX-512"), ("avx512_bf16", "bfloat16"), ("amx_tile", "AMX"))
"""Flags of x86 processors, and what they stand for."""


def described() -> str:
    """Name the processor and what makes it fast."""
    facts = _facts()
    flags = facts.get("flags", "").split()
    name, extras = facts.get("model name", platform.machine()), [text for flag, text in INSTRUCTIONS if flag in flags]
    return f"{name} with {', '.join(extras)}" if extras else name


def advice(device: str, precision: str) -> str:
    """Say what to do if this processor has no instructions for the precision of training; "" if it has, or is unknown."""
    flags = _facts().get("flags", "").split()
    if device != "cpu" or precision != "bfloat16" or not flags or "avx512_bf16" in flags:
        return ""
    return (
        "this processor has no instructions for bfloat16: products take 2 to 20 times as long as with "
        "training.precision=float32, which gives other weights"
    )


def _facts() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # macOS, Windows
        return {}
    facts = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in facts}
