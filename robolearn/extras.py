"""Optional dependencies: the extra that a missing module belongs to, and how to install it."""

import importlib.metadata

from packaging.requirements import Requirement

from robolearn.errors import RobolearnError

EXTRAS = {
    "minari": ("minari", "h5py"),
    "teleop": ("pygame",),
    "warp": ("mujoco_warp", "warp"),
}
"""The modules of each extra in ``pyproject.toml``."""


def install_command(extra: str) -> str:
    """Return a command that installs an extra's packages, in a checkout or out of one."""
    try:
        requirements = [
            Requirement(line) for line in importlib.metadata.requires("robolearn") or ()
        ]
    except importlib.metadata.PackageNotFoundError:
        return f"pip install '.[{extra}]'"
    packages = []
    for requirement in requirements:
        marker = requirement.marker
        if marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            requirement.marker = None
            packages.append(f"'{requirement}'")
    return " ".join(["pip install", *packages])


def missing_extra(command: str, error: ModuleNotFoundError) -> RobolearnError | None:
    """Return what to say of a missing optional module, None if the module is not optional.

    Args:
        command: What needs the module, as one types it.
        error: The failed import.
    """
    module = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if module in modules:
            return RobolearnError(
                f"`{command}` needs {module}, which is not installed. "
                f"Install it with: {install_command(extra)}"
            )
    return None
