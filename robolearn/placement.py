"""Where a training is to be computed: tried out, and how many environments fit there."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NoReturn

import torch

from robolearn.accelerate import cuda_problem
from robolearn.agents import agent_class
from robolearn.agents.defaults import default_config
from robolearn.agents.protocols import Agent
from robolearn.config import from_dict
from robolearn.environments import EnvConfig
from robolearn.errors import DivergedError, RobolearnError

TRIAL = 0.7
"""Seconds for which each place is tried, after as many to get going."""
_ROUNDS = 5  # at least that many to get going: graphs are captured in the fourth


@dataclass(frozen=True)
class Place:
    """A device, and the environment as it is stepped with it."""

    device: str
    env: EnvConfig

    def __str__(self) -> str:
        """Return the words for it."""
        return f"{self.device}, engine {self.env.engine}" if self.env.engine else self.device


@dataclass(frozen=True)
class Choice:
    """A place, and why it was chosen."""

    place: Place
    why: str


def choose_place(
    agent: str, env: EnvConfig, hyper: Mapping[str, Any], *, device: str, compile: str, seed: int
) -> Choice:
    """Return where to train: where that was asked for, else where it is fastest.

    With 'auto' each device is tried for about two seconds. The environment stays on its engine: a
    stopwatch never decides on the physics.

    Args:
        agent: Name of the agent.
        env: What it learns in.
        hyper: Its hyper-parameters; empty for the usual ones.
        device: 'auto', 'cpu' or 'cuda'.
        compile: See :class:`~robolearn.agents.base.BaseAgent`.
        seed: Of the trials.
    """
    if device != "auto":
        return Choice(Place(device, env), f"{device}, as asked for")
    problem = cuda_problem()
    if problem is not None:
        return Choice(Place("cpu", env), f"cpu: {problem}")
    there = Place("cuda", env)
    if compile == "graph":
        return Choice(there, "cuda, which graphs need")
    places = [Place("cpu", env), there]
    return fastest(places, lambda place: speed(agent, place, hyper, compile=compile, seed=seed))


def fastest(places: list[Place], measured: Callable[[Place], float]) -> Choice:
    """Return the place of the most steps per second, and all that were measured.

    Args:
        places: To be tried, in order.
        measured: Tries one and returns its steps per second.
    """
    speeds = []
    for place in places:
        speeds.append(measured(place))
        make_room()  # what was tried is held by circles, not by anyone
    best = places[speeds.index(max(speeds))]
    words = (f"{place}: {each:,.0f} steps/s" for place, each in zip(places, speeds, strict=True))
    told = "; ".join(words)
    return Choice(best, f"{best.device}, the fastest ({told})")


def speed(agent: str, place: Place, hyper: Mapping[str, Any], *, compile: str, seed: int) -> float:
    """Return how many environment steps a second an agent learns from there; 0 if it cannot."""
    cls = agent_class(agent)
    config = from_dict(cls.Config, hyper) if hyper else None
    learner = cls(place.env, config, seed=seed, device=place.device, compile=compile)
    try:
        return _pace(learner)
    except (DivergedError, torch.OutOfMemoryError):
        return 0.0
    finally:
        learner.close()


def _pace(learner: Agent) -> float:
    rounds = learner.iterate(10**12)
    began = time.perf_counter()
    made = 0
    while made < _ROUNDS or time.perf_counter() - began < TRIAL:
        next(rounds)
        made += 1
    start, first = time.perf_counter(), learner.steps
    while time.perf_counter() - start < TRIAL:
        next(rounds)
    return (learner.steps - first) / (time.perf_counter() - start)


def make_room() -> None:
    """Give back the memory of what nobody uses any more, in circles too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def raise_too_large(num_envs: int, device: torch.device, fits: Callable[[int], bool]) -> NoReturn:
    """Say that so many environments do not fit into a device's memory, and how many do.

    Args:
        num_envs: How many did not.
        device: Where.
        fits: Tries a number of them.

    Raises:
        RobolearnError: Always.
    """
    count = num_envs
    fitted = False
    while count and not fitted:
        make_room()
        count //= 2
        fitted = count > 0 and fits(count)
    hint = (
        f"{count:,} do: use --num-envs {count}, and another --run."
        if count
        else "not even one does."
    )
    raise RobolearnError(
        f"{num_envs:,} environments do not fit into the memory of {device}; {hint}"
    )


def settings(agent: str, env: EnvConfig, hyper: Mapping[str, Any]) -> Any:
    """Return the hyper-parameters an agent learns with: those given, else the usual ones."""
    config = agent_class(agent).Config
    return from_dict(config, hyper) if hyper else default_config(config, agent, env.id, None)


def fits(
    agent: str, place: Place, hyper: Mapping[str, Any], num_envs: int, *, compile: str = "auto"
) -> bool:
    """Return whether an agent can learn there from so many environments, by letting it.

    It learns until its graphs are captured, which take memory of their own.
    """
    usual = settings(agent, place.env, hyper)
    smaller = {"num_envs": num_envs}
    if hasattr(usual, "batch_size") and hasattr(usual, "n_steps"):
        smaller["batch_size"] = min(usual.batch_size, num_envs * usual.n_steps)
    cls = agent_class(agent)
    learner = cls(place.env, replace(usual, **smaller), device=place.device, compile=compile)
    try:
        for _ in islice(learner.iterate(10**12), _ROUNDS):
            pass
    except torch.OutOfMemoryError:
        return False
    finally:
        learner.close()
    return True
