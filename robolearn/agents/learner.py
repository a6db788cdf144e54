"""What all our agents share: how they are built, asked for actions, written and read back."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from robolearn.accelerate import choose_device
from robolearn.agents.base import Progress
from robolearn.agents.defaults import usual_config
from robolearn.agents.saving import Parts, load_saved, save_agent
from robolearn.clock import Clock
from robolearn.device.collector import AnyCollector, DeviceCollector
from robolearn.device.graph import choose_graphs
from robolearn.environments import EnvConfig, TrainingEnvs
from robolearn.errors import DivergedError, RobolearnError
from robolearn.nn.descent import REMEDY, Descent
from robolearn.spaces import flatten_any, require_action_space, to_env_action
from robolearn_envs.engines import TWINS

C = TypeVar("C")


class Learner(ABC, Generic[C]):
    """An agent without an algorithm: each adds its networks, and how it acts and learns."""

    name: ClassVar[str]
    """As the command line has it."""
    Config: ClassVar[Any]
    """Class of its hyper-parameters."""
    discrete_only: ClassVar[bool] = False
    """It serves no continuous actions."""
    serves_devices: ClassVar[bool] = False
    """It learns where the simulation is, on engines whose copies live on a device."""
    config: C

    def __init__(
        self,
        env: str | EnvConfig | VectorEnv | TrainingEnvs,
        config: C | None = None,
        *,
        engine: str | None = None,
        num_envs: int | None = None,
        seed: int = 0,
        device: str = "auto",
        compile: str = "auto",
        **env_kwargs: Any,
    ) -> None:
        """Build the agent.

        Args:
            env: A Gymnasium id, an :class:`EnvConfig`, or a vector environment.
            config: Hyper-parameters; None for the tuned ones of this environment.
            engine: Physics engine, for robolearn environments.
            num_envs: Overrides ``config.num_envs``.
            seed: Fixes everything random.
            device: 'auto', 'cpu' or 'cuda'; engines on a device take the same.
            compile: 'graph' captures what is computed again and again as CUDA graphs, 'off' does
                not, 'auto' does where that can be; ``how`` says which. The same is computed. 'fuse'
                is 'auto', and compiles the step of engine 'torch' into few kernels, which takes
                half a minute the first time and may change the last places of numbers.
            **env_kwargs: Passed on to the environment.

        Raises:
            RobolearnError: Unknown environment, observations or actions the agent cannot serve, or
                hyper-parameters that do not go together.
        """
        self.envs = TrainingEnvs.of(env, engine, env_kwargs)
        hint = "action='discrete' (--action discrete) or " if self.envs.native else ""
        self._actions = require_action_space(
            self.envs.action_space,
            type(self).__name__,
            discrete_only=self.discrete_only,
            hint=hint,
        )
        if config is None:
            self.config = usual_config(
                self.Config, self.name, self.envs.id, self.envs.batch_size(num_envs)
            )
        else:
            asked: Any = config
            count = self.envs.batch_size(num_envs) or asked.num_envs
            self.config = replace(asked, num_envs=count)
        self.seed, self.steps = seed, 0
        self.began = self.until = 0  # steps at which the learning under way began, and will end
        self.clock = Clock()
        self.device = choose_device(device)
        self._compile = compile
        self.how = "eager"
        """How it computes, and why so."""
        if self.envs.on_device and not self.serves_devices:
            raise RobolearnError(
                f"{type(self).__name__} learns from environments on the host, got engine="
                f"'{self.envs.engine}'. Use engine='{TWINS[self.envs.engine or '']}', or PPO."
            )
        self._rng = torch.Generator(self.device).manual_seed(seed)  # training
        self._play = torch.Generator(self.device).manual_seed(seed)  # predict
        self._build(torch.Generator().manual_seed(seed))

    @abstractmethod
    def _build(self, weights: torch.Generator) -> None:
        """Make networks, whose weights ``weights`` draws, and optimiser.

        Raises:
            RobolearnError: Hyper-parameters or spaces that do not go together.
        """

    @abstractmethod
    def _round(self, collector: AnyCollector, left: int, share: float) -> dict[str, float]:
        """Act for a while, learn from it, count the steps, and return figures of it.

        Args:
            collector: Of the training environments.
            left: Steps there are to go.
            share: The same as a part of all that were asked for.
        """

    @property
    def _deferred(self) -> bool:
        """Whether it is not looked at each gradient step whether all is finite, but once a round.

        On the CPU there is nothing to wait for.
        """
        return self.envs.on_device or self.device.type != "cpu"

    def _episodes(self, collector: DeviceCollector, descent: Descent) -> dict[str, float]:
        """Return what the collector tells of episodes; waits for the device.

        Raises:
            DivergedError: A simulation broke down; the descent, which learned nothing, may go on.
        """
        try:
            return collector.figures()
        except DivergedError:
            descent.forgive()
            raise

    def _captures(self, hindrance: str | None) -> bool:
        """Return whether to capture CUDA graphs, and take note why.

        Args:
            hindrance: What keeps this agent from it; None for nothing.

        Raises:
            RobolearnError: They were asked for, and cannot be.
        """
        captures, self.how = choose_graphs(self._compile, self.device, hindrance)
        return captures

    @abstractmethod
    def _act(
        self, obs: Tensor, state: Any, episode_start: Any, deterministic: bool
    ) -> tuple[Tensor, Any]:
        """Return actions for flat observations, shape (N, D), and the recurrent state."""

    @abstractmethod
    def parts(self) -> Parts:
        """Return what of the agent changes while it learns."""

    def iterate(self, steps: int) -> Iterator[Progress]:
        """Learn from ``steps`` more environment steps, reporting after each update.

        Raises:
            DivergedError: A number is not finite; no gradient step was taken with it.
            Stopped: On request, where ``runs.stopping`` listens; ``proceed`` goes on there.
        """
        self.began, self.until = self.steps, self.steps + steps
        return self.proceed()

    def proceed(self) -> Iterator[Progress]:
        """Go on with the learning under way, to the end of what ``iterate`` was asked for."""
        collector = self.collector
        while self.steps < self.until:
            left = self.until - self.steps
            metrics = self._round(collector, left, left / (self.until - self.began))
            for name, figure in metrics.items():
                if not math.isfinite(figure):
                    raise DivergedError(f"{name} is {figure} after {self.steps} steps. {REMEDY}")
            yield Progress(self.steps, metrics, collector.pop_episodes())

    def time_split(self) -> dict[str, float]:
        """Return seconds of learning so far spent in 'env' and in 'update'; the rest is acting."""
        return {"env": 0.0, "update": 0.0, **self.collector.clock.seconds, **self.clock.seconds}

    @property
    def collector(self) -> AnyCollector:
        """Of the training environments; they are made at the first call."""
        settings: Any = self.config
        return self.envs.collector(
            settings.num_envs, self.seed, self.device, fuse=self._compile == "fuse"
        )

    def learn(self, steps: int) -> Self:
        """Learn from ``steps`` more environment steps."""
        for _ in self.iterate(steps):
            pass
        return self

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Return actions for one observation or a batch; SB3's signature.

        Args:
            observation: Of the observation space, or N of them stacked.
            state: What the last call returned, None at first; the memory, shape (N, memory).
            episode_start: Before these of the observations nothing is remembered. Shape (N,).
            deterministic: Take the best action, instead of exploring as at the end of training.

        Returns:
            Actions as the environment takes them, one or N; and the memory, or without one
            ``state`` as it came.

        Raises:
            RobolearnError: Observations or a memory of another shape.
        """
        flat, single = flatten_any(self.envs.observation_space, observation)
        with torch.inference_mode():
            obs = torch.from_numpy(flat).to(self.device)
            action, state = self._act(obs, state, episode_start, deterministic)
        actions = to_env_action(self._actions, action.cpu().numpy())
        return (actions[0] if single else actions), state

    def save(self, folder: str | Path) -> None:
        """Write the agent, but for what it remembers of steps; an agent already there is replaced.

        Args:
            folder: Where to.
        """
        save_agent(self, folder)

    @classmethod
    def load(
        cls, folder: str | Path, *, env: VectorEnv | None = None, device: str = "auto"
    ) -> Self:
        """Read an agent back; it acts as it did and can go on learning, a replay memory empty.

        Args:
            folder: What ``save`` wrote.
            env: Environments to learn in, instead of the ones it was trained in.
            device: 'auto', 'cpu' or 'cuda'.

        Raises:
            RobolearnError: No agent there, a damaged one, or one of another algorithm.
        """
        return load_saved(cls, folder, env, device)

    def close(self) -> None:
        """Close the training environments."""
        self.envs.close()


def read(figures: Mapping[str, Tensor]) -> dict[str, float]:
    """Return figures of shape () as numbers; their device is waited for once."""
    return dict(zip(figures, torch.stack(list(figures.values())).tolist(), strict=True))
