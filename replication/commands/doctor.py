"""Print what this machine has and lacks for a study: `python -m replication doctor study=released`.

Nothing is downloaded or written; the hub is asked whether it answers, unless HF_HUB_OFFLINE is set. A line that begins
with `!` lacks something and says what to do. The exit code is 0 all the same: what is missing may not be needed here.
"""

from collections.abc import Sequence

from replication import settings
from replication.analyse.planning import memory
from replication.collect.machine import Finding, examined


def main(cfg: settings.Root) -> None:
    """Print the report on this machine."""
    sizes = {name: memory.need(cfg, model).download_gb for name, model in cfg.models.items()}
    print(report(cfg.study.name, examined(cfg, sizes)))


def report(study: str, findings: Sequence[Finding]) -> str:
    """Return the printed report, what is missing below what is there."""
    width = max(len(one.name) for one in findings)
    there = [f"  {one.name.ljust(width)}  {one.value}" for one in findings if not one.remedy]
    lacking = [
        f"! {one.name.ljust(width)}  {one.value}\n  {' ' * width}  {one.remedy}" for one in findings if one.remedy
    ]
    last = f"{len(lacking)} missing" if lacking else "nothing is missing"
    return "\n".join([f"this machine for study {study}", *there, *lacking, last])
