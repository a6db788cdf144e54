"""Who can be recorded: experts by name, random actions, and agents by their run folder."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from robolearn.agents.load import load_agent
from robolearn.agents.protocols import Policy
from robolearn.environments import EnvConfig, TrainingEnvs
from robolearn.errors import RobolearnError
from robolearn.imitation.demos.noise import uniform
from robolearn.imitation.experts import EXPERTS, expert_for, lqr, planner, swingup
from robolearn_envs.names import did_you_mean

NAMED = {
    "lqr": (lqr.LQRExpert, (lqr,)),
    "swingup": (swingup.SwingUpExpert, (lqr, swingup)),
    "planner": (planner.PlannerExpert, (planner,)),
}
"""Class, and the modules whose constants it depends on, by name."""
SUITING = "expert"
"""The name that stands for whichever expert suits the environment."""
RANDOM = "random"


@dataclass(frozen=True, kw_only=True)
class Expert:
    """Someone who can be recorded in an environment."""

    name: str
    parameters: Mapping[str, Any]
    """What it depends on, as JSON can hold it, by name."""
    make: Callable[[VectorEnv, int], Policy]
    """Returns it for some environments; the seed is of what is random in it, if anything is."""


class RandomExpert:
    """Draws every action anew, each as likely as any other."""

    def __init__(self, space: gym.Space, num_envs: int, seed: int) -> None:
        """Draw actions of a space for so many environments."""
        self._space, self._num_envs = space, num_envs
        self._rng = np.random.default_rng(seed)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Return actions; the arguments are not looked at."""
        return uniform(self._space, self._num_envs, self._rng), state


def expert_named(name: str, env: EnvConfig) -> Expert:
    """Return an expert that suits an environment.

    Args:
        name: One of ``NAMED``, 'expert' for the one that suits, 'random', or a run folder.
        env: Where it is to act.

    Raises:
        RobolearnError: Nobody of that name, or nobody who can act there.
    """
    if name == RANDOM:
        return random_expert()
    if name in NAMED or name == SUITING:
        return _built_in(name, env)
    if Path(name).is_dir():
        return _agent(Path(name), env)
    known = did_you_mean("expert", name, [*NAMED, SUITING, RANDOM])
    raise RobolearnError(f"{known} Or name a run folder, such as runs/my-agent.")


def random_expert() -> Expert:
    """Return who draws actions at random, anywhere."""
    return Expert(
        name=RANDOM,
        parameters={},
        make=lambda envs, seed: RandomExpert(envs.single_action_space, envs.num_envs, seed),
    )


def _built_in(name: str, env: EnvConfig) -> Expert:
    task = env.id.split("/")[-1]
    suiting = EXPERTS.get(task) if env.native else None
    fits = next((one for one, (cls, _) in NAMED.items() if cls is suiting), None)
    if fits is None:
        raise RobolearnError(
            f"There is no expert for {env.id}; there are for "
            f"{', '.join(f'robolearn/{known}' for known in EXPERTS)}. Record an agent there: "
            "--expert RUN, the folder of its run."
        )
    if name not in (fits, SUITING):
        raise RobolearnError(
            f"'{name}' is no expert for {env.id}. Did you mean '{fits}'? That one is."
        )
    parameters: dict[str, Any] = {}
    for module in NAMED[fits][1]:
        parameters |= _constants(module.__name__)
    return Expert(name=fits, parameters=parameters, make=lambda envs, _: expert_for(envs))


def _constants(module: str) -> dict[str, Any]:
    """Return the numbers a module begins with, by name."""
    return {
        name.strip("_").lower(): list(value) if isinstance(value, tuple) else value
        for name, value in vars(sys.modules[module]).items()
        if name.isupper() and not name.startswith("__") and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    parts = value if isinstance(value, tuple) else (value,)
    return all(isinstance(part, int | float | str) for part in parts)


def _agent(run: Path, env: EnvConfig) -> Expert:
    """Return a trained agent, who takes its best actions."""
    agent = load_agent(run)
    there = TrainingEnvs.of(env, None, {})
    for name in ("observation_space", "action_space"):
        own, theirs = getattr(agent.envs, name), getattr(there, name)
        if own != theirs:
            raise RobolearnError(
                f"The agent of {run} does not fit {env.id}: its {name} is "
                f"{' '.join(str(own).split())}, there it is {' '.join(str(theirs).split())}."
            )
    facts = {"agent": type(agent).__name__, "learned_steps": agent.steps, "env": agent.envs.id}
    return Expert(name=str(run), parameters=facts, make=lambda envs, _: agent)
