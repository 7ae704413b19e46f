"""A private SLURM on this machine for tests: munged, slurmctld and slurmd on loopback ports, ended with all its jobs."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo")
SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def lacking() -> str:
    """Say why no cluster can be started here; empty if one can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]
    if missing:
        return f"needs SLURM: {', '.join(missing)} (Debian: slurmctld, slurmd, slurm-client, munge)"
    return "" if os.geteuid() == 0 else "starting a private SLURM needs root"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


CONF = """ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge/socket
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,bf_interval=2,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait={kill_wait}
MinJobAge=3600
InactiveLimit=0
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 SocketsPerBoard=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=4000 Gres=gpu:2
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 DefMemPerCPU=256
PartitionName=urgent Nodes=ALL Default=NO MaxTime=INFINITE State=UP PriorityTier=10 DefMemPerCPU=256
"""


@contextlib.contextmanager
def cluster(*, kill_wait: int = 20):
    """Start a cluster of one node with 8 CPUs and 2 pretended GPUs; yields the environment of its clients."""
    root = Path(tempfile.mkdtemp(prefix="slurm-"))  # a short path: it holds a socket
    env = {**os.environ, "PATH": SEARCHED, "SLURM_CONF": str(root / "slurm.conf")}
    started: list[tuple[str, Path]] = []
    try:
        _write(root, kill_wait)
        _start(root, env, started)
        yield env
    finally:
        if started:
            subprocess.run(["scancel", "-f", "--state=PENDING"], env=env, capture_output=True, timeout=30)
            subprocess.run(["scancel", "-f", "-u", "root"], env=env, capture_output=True, timeout=30)
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and squeue(env, "-o", "%i"):
                time.sleep(0.3)
        for name, pid_file in reversed(started):
            _stop(name, pid_file)
        shutil.rmtree(root, ignore_errors=True)


def squeue(env, *options: str) -> list[str]:
    """Return the lines of the queue without its header."""
    done = subprocess.run(["squeue", "-h", "-r", *options], env=env, capture_output=True, text=True, timeout=30)
    return done.stdout.split("\n")[:-1]


def _write(root: Path, kill_wait: int) -> None:
    host = socket.gethostname().partition(".")[0]
    root.chmod(0o755)
    for name in ("munge", "state", "spool", "dev"):
        (root / name).mkdir()
    (root / "munge").chmod(0o711)
    key = root / "munge/key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    ports = {"port": _free_port(), "node_port": _free_port()}
    (root / "slurm.conf").write_text(CONF.format(host=host, root=root, kill_wait=kill_wait, **ports))
    # The plugin for GPUs wants character devices, of any kind.
    for number in range(2):
        os.mknod(root / f"dev/nvidia{number}", 0o20666, os.makedev(1, 3))
    (root / "gres.conf").write_text(f"AutoDetect=off\nNodeName={host} Name=gpu File={root}/dev/nvidia[0-1]\n")
    (root / "cgroup.conf").write_text("CgroupAutomount=no\nConstrainCores=no\nConstrainRAMSpace=no\n")


def _start(root: Path, env, started: list[tuple[str, Path]]) -> None:
    munge = [
        "munged", "--force", "--syslog", f"--key-file={root}/munge/key", f"--socket={root}/munge/socket",
        f"--pid-file={root}/munge/pid", f"--log-file={root}/munge/log", f"--seed-file={root}/munge/seed", "--num-threads=2",
    ]  # fmt: skip
    for name, command in (("munged", munge), ("slurmctld", ["slurmctld", "-c"]), ("slurmd", ["slurmd", "-c"])):
        subprocess.run(command, env=env, check=True, timeout=60, stdin=subprocess.DEVNULL, capture_output=True)
        started.append((name, root / "munge/pid" if name == "munged" else root / f"{name}.pid"))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        state = subprocess.run(["sinfo", "-h", "-o", "%T"], env=env, capture_output=True, text=True).stdout.split()
        if state and set(state) == {"idle"}:
            return
        time.sleep(0.2)
    logs = "".join((root / name).read_text()[-1000:] for name in ("slurmctld.log", "slurmd.log"))
    raise RuntimeError(f"the node of the private SLURM did not come up: {logs}")


def _stop(name: str, pid_file: Path) -> None:
    """End a daemon by its own pid file, if the process is still that daemon."""
    with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
        pid = int(pid_file.read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() != name:
            return
        os.kill(pid, 15)
        for _ in range(100):
            os.kill(pid, 0)
            time.sleep(0.1)
        os.kill(pid, 9)
