"""Experts: controllers that know more than a learner is shown."""

from typing import Any, Protocol

from gymnasium.vector import VectorEnv

from robolearn.agents.protocols import Policy
from robolearn.errors import RobolearnError
from robolearn.imitation.experts.lqr import LQRExpert
from robolearn.imitation.experts.planner import PlannerExpert
from robolearn.imitation.experts.swingup import SwingUpExpert
from robolearn_envs.vector import RoboVectorEnv


class ExpertClass(Protocol):
    """Makes experts for batches of environments."""

    def __call__(self, envs: RoboVectorEnv) -> Policy:
        """Return an expert for these very environments, whose state it reads."""
        ...


EXPERTS: dict[str, ExpertClass] = {
    "CartPoleBalance-v0": LQRExpert,
    "CartPoleSwingUp-v0": SwingUpExpert,
    "CartPoleDMC-v0": SwingUpExpert,
    "NavLidar-v0": PlannerExpert,
    "NavDepth-v0": PlannerExpert,
    "NavRover-v0": PlannerExpert,
}
"""By task."""


def expert_for(envs: VectorEnv[Any, Any, Any]) -> Policy:
    """Return the expert of some environments.

    Raises:
        RobolearnError: Nobody is an expert there.
    """
    base = envs.unwrapped
    name = base.spec.id.split("/")[-1] if base.spec else ""
    if not isinstance(base, RoboVectorEnv) or name not in EXPERTS:
        raise RobolearnError(
            f"There is no expert for {base.spec.id if base.spec else base}; there are for "
            f"{', '.join(f'robolearn/{known}' for known in EXPERTS)}."
        )
    return EXPERTS[name](base)
