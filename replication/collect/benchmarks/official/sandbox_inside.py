"""Program that `unshare` starts: makes the file system read-only except one folder, drops all privileges, runs a command.

Run: python -I sandbox_inside.py FOLDER COMMAND ...    as the first process of new user, mount, pid and network namespaces
"""

import ctypes
import os
import sys

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC = 2, 4, 8, 4096, 16384
AT_FDCWD, AT_RECURSIVE, RDONLY = -100, 0x8000, 1
MOUNT_SETATTR = 442
"""The system call, on every architecture; Linux 5.12 or newer."""
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
LAST_CAPABILITY = 63


class MountAttributes(ctypes.Structure):
    """`struct mount_attr` of the kernel."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd"))


def main(folder: str, *command: str) -> None:
    """Confine this process and replace it by the command."""
    libc = ctypes.CDLL(None, use_errno=True)

    def require(result: int, what: str) -> None:
        if result != 0:
            raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")

    def mount(source: str, target: str, kind: str, flags: int) -> None:
        arguments = (source.encode(), target.encode(), kind.encode(), flags, None)
        require(libc.mount(*arguments), f"mount {target}")

    def set_attributes(path: str, recursive: int, **attributes: int) -> None:
        value = MountAttributes(**attributes)
        arguments = (AT_FDCWD, path.encode(), recursive, ctypes.byref(value), ctypes.sizeof(value))
        require(libc.syscall(MOUNT_SETATTR, *arguments), f"mount attributes of {path}")

    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount(folder, folder, "", MS_BIND | MS_REC)
    set_attributes("/", AT_RECURSIVE, attr_set=RDONLY)
    set_attributes(folder, 0, attr_clr=RDONLY)
    # Root of this namespace could make the mounts writable again; without capabilities, and no way to gain any, it cannot.
    for capability in range(LAST_CAPABILITY + 1):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails for those that this kernel does not have
    require(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    os.chdir(folder)
    os.execvp(command[0], list(command))


if __name__ == "__main__":
    main(*sys.argv[1:])
