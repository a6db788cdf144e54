"""What made an artifact: command, versions, hardware, source."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_PACKAGES = (
    "robolearn",
    "gymnasium",
    "mujoco",
    "pybullet",
    "pybullet-arm64",
    "numpy",
    "torch",
    "stable-baselines3",
    "minari",
    "h5py",
)


def command_line() -> str:
    """Return the command that is running, as one would type it."""
    if "-m" in sys.orig_argv:
        return shlex.join(["python", *sys.orig_argv[sys.orig_argv.index("-m") :]])
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Return the version of Python and of each package that matters, where installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> str:
    """Return a line about the machine."""
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def git_commit() -> str | None:
    """Return the commit of the source, None outside a checkout."""
    where = Path(__file__).resolve().parent
    command = ["git", "-C", str(where), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def meta() -> dict[str, Any]:
    """Return all of it, as JSON can hold it."""
    return {
        "command": command_line(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "hardware": hardware(),
        "git": git_commit(),
    }


def comment() -> str:
    """Return command and versions in one line, for files that hold a comment."""
    numbers = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{command_line()} | {numbers}"
