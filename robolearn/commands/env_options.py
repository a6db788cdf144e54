"""Options that say which environment."""

from dataclasses import dataclass
from typing import Any

from robolearn.environments import EnvConfig


@dataclass(frozen=True, kw_only=True)
class EnvOptions:
    """Which environment."""

    env: str = "robolearn/CartPoleBalance-v0"
    """Gymnasium id; `robolearn list` shows ours."""
    engine: str | None = None
    """mujoco, bullet or analytic; torch (the closed form) or warp (MuJoCo Warp) on the learner's
    device; without it the environment's default."""
    action: str | None = None
    """continuous or discrete; without it the environment's default."""
    forces: int | None = None
    """Of cart-poles with discrete actions: how many forces there are to choose among."""
    randomize: float = 0.0
    """Draw masses, pole length and motor force (of robots with a servo, how fast they go) within
    this part of nominal, and disturb lidar and depth camera, e.g. 0.2."""
    level: int | None = None
    """Of navigation: 0 empty, 1 four cylinders, 2 eight, 3 twelve of which four move, 4 walls."""
    curriculum: bool = False
    """Of navigation: begin at level 0 and go up to the level asked for, by success."""

    def config(self) -> EnvConfig:
        """Return the environment asked for.

        Raises:
            RobolearnError: Nobody knows it.
        """
        kwargs: dict[str, Any] = {}
        if self.action is not None:
            kwargs["action"] = self.action
        if self.forces is not None:
            kwargs |= {"action": "discrete", "forces": self.forces}
        if self.randomize:
            kwargs["randomize"] = self.randomize
        if self.level is not None:
            kwargs["level"] = self.level
        if self.curriculum:
            kwargs["curriculum"] = True
        return EnvConfig(id=self.env, engine=self.engine, kwargs=kwargs)
