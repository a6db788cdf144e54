"""What all our agents share: how they are built, asked for actions, written and read back."""

import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from robolearn.accelerate import choose_device, one_thread, threads
from robolearn.agents.defaults import default_config
from robolearn.agents.protocols import TrainingUpdate
from robolearn.agents.saving import Parts, load_saved, save_agent
from robolearn.collect.cuda_graph import resolve_cuda_graphs
from robolearn.collect.device_collector import AnyCollector, DeviceCollector
from robolearn.environments import Env, TrainingEnvs, check_seed
from robolearn.errors import DivergedError, RobolearnError
from robolearn.networks.encoders import EncoderFactory
from robolearn.networks.flat_adam import REMEDY, FlatAdam
from robolearn.spaces import flatten_any, require_action_space, to_env_action
from robolearn_envs.engines import TWINS

C = TypeVar("C")


class BaseAgent(ABC, Generic[C]):
    """An agent without an algorithm: each adds its networks, and how it acts and learns."""

    name: ClassVar[str]
    """As the command line has it."""
    Config: ClassVar[Any]
    """Class of its hyper-parameters."""
    discrete_only: ClassVar[bool] = False
    """It serves one discrete action, no continuous ones and not several at once."""
    supports_gpu_envs: ClassVar[bool] = False
    """It learns where the simulation is, on engines whose copies live on a device."""
    num_threads = 1
    """CPU threads it computes with while it learns."""
    takes_encoder: ClassVar[bool] = False
    """Its networks can have an encoder of the user's."""
    config: C

    def __init__(
        self,
        env: Env,
        config: C | None = None,
        *,
        engine: str | None = None,
        num_envs: int | None = None,
        seed: int = 0,
        device: str = "auto",
        compile: str = "auto",
        encoder: EncoderFactory | None = None,
        **env_kwargs: Any,
    ) -> None:
        """Build the agent.

        Args:
            env: A Gymnasium id, an :class:`EnvConfig`, an environment object, a function that
                returns a new environment at each call, or a vector environment.
            config: Hyper-parameters; None for the tuned ones of this environment.
            engine: Physics engine, for robolearn environments.
            num_envs: Overrides ``config.num_envs``. An environment object is one, a vector
                environment as many as it has.
            seed: Fixes everything random.
            device: 'auto', 'cpu' or 'cuda'; engines on a device take the same.
            compile: 'graph' captures what is computed again and again as CUDA graphs, 'off' does
                not, 'auto' does where that can be; ``how`` says which. The same is computed. 'fuse'
                is 'auto', and compiles the step of engine 'torch' into few kernels, which takes
                half a minute the first time and may change the last places of numbers.
            encoder: Makes an encoder of observations, in place of ours: a function of the
                observation space and a generator of random numbers. It returns a module with an
                attribute ``width``, which maps flat observations (..., D) to features (..., width).
            **env_kwargs: Passed on to the environment.

        Raises:
            RobolearnError: Unknown environment, observations or actions the agent cannot serve, a
                seed out of range, or hyper-parameters that do not go together.
        """
        self.envs = TrainingEnvs.of(env, engine, env_kwargs)
        hint = "action='discrete' (--action discrete) or " if self.envs.native else ""
        self._actions = require_action_space(
            self.envs.action_space,
            type(self).__name__,
            discrete_only=self.discrete_only,
            multi=not self.discrete_only,
            hint=hint,
        )
        if config is None:
            self.config = default_config(
                self.Config, self.name, self.envs.id, self.envs.batch_size(num_envs)
            )
        else:
            asked: Any = config
            count = self.envs.batch_size(num_envs) or asked.num_envs
            self.config = replace(asked, num_envs=count)
        self.seed = seed = require_integer("seed", seed)
        self.steps = 0
        self.began = self.until = 0  # steps at which schedules began, and learning will end
        self.seconds = {"update": 0.0}
        self.device = choose_device(device)
        self._compile = compile
        self.how = "eager"
        """How it computes, and why so."""
        if self.envs.on_device and not self.supports_gpu_envs:
            raise RobolearnError(
                f"{type(self).__name__} learns from environments on the host, got engine="
                f"'{self.envs.engine}'. Use engine='{TWINS[self.envs.engine or '']}', or PPO."
            )
        if encoder is not None and not self.takes_encoder:
            raise RobolearnError(f"{type(self).__name__} takes no encoder. Leave it out.")
        self.encoder = encoder
        """Makes an encoder of the user's; None for ours. It is not saved."""
        check_seed(seed)
        train, play, weights = (
            int(child.generate_state(1, np.uint64)[0])
            for child in np.random.SeedSequence(seed).spawn(3)
        )
        self._rng = torch.Generator(self.device).manual_seed(train)
        self._predict_rng = torch.Generator(self.device).manual_seed(play)  # predict
        self._build(torch.Generator().manual_seed(weights))

    @abstractmethod
    def _build(self, weights: torch.Generator) -> None:
        """Make networks, whose weights ``weights`` draws, and optimizer.

        Raises:
            RobolearnError: Hyper-parameters or spaces that do not go together.
        """

    @abstractmethod
    def training_iteration(
        self, collector: AnyCollector, progress_remaining: float
    ) -> dict[str, float]:
        """Act for a while, learn from it, count the steps, and return metrics.

        Args:
            collector: Of the training environments.
            progress_remaining: Part of the steps asked for that is to go, in (0, 1].
        """

    @property
    def _defer_finite_checks(self) -> bool:
        """Whether it is not looked at each gradient step whether all is finite, but once a round.

        On the CPU there is nothing to wait for.
        """
        return self.envs.on_device or self.device.type != "cpu"

    def _episode_metrics(self, collector: DeviceCollector, optimizer: FlatAdam) -> dict[str, float]:
        """Return what the collector tells of episodes; waits for the device.

        Raises:
            DivergedError: A simulation broke down; the optimizer, which learned nothing, may go on.
        """
        try:
            return collector.episode_metrics()
        except DivergedError:
            optimizer.forgive()
            raise

    def _use_cuda_graphs(self, blocker: str | None) -> bool:
        """Return whether to capture CUDA graphs, and take note why.

        Args:
            blocker: What keeps this agent from it; None for nothing.

        Raises:
            RobolearnError: They were asked for, and cannot be.
        """
        captures, self.how = resolve_cuda_graphs(self._compile, self.device, blocker)
        return captures

    @abstractmethod
    def _act(
        self, obs: Tensor, state: Any, episode_start: Any, deterministic: bool
    ) -> tuple[Tensor, Any]:
        """Return actions for flat observations, shape (N, D), and the recurrent state."""

    @abstractmethod
    def parts(self) -> Parts:
        """Return what of the agent changes while it learns."""

    def iterate(self, steps: int, reset_num_timesteps: bool = True) -> Iterator[TrainingUpdate]:
        """Learn from ``steps`` more environment steps, reporting after each update.

        Rollouts are whole, as in SB3: the last one may go past ``steps``.

        Args:
            steps: How many.
            reset_num_timesteps: Schedules begin again and run over ``steps``. If not, they go on:
                they run from where they last began, for a new agent its first step, over all steps
                since then and ``steps`` more. As in SB3, a rate that had come to its end is then
                higher again.

        Raises:
            DivergedError: A number is not finite; no gradient step was taken with it.
            Stopped: On request, where ``runs.stopping`` listens; go on by ``continue_learning``.
        """
        steps = require_integer("steps", steps)
        if reset_num_timesteps:
            self.began = self.steps
        self.until = self.steps + steps
        return self.continue_learning()

    def continue_learning(self) -> Iterator[TrainingUpdate]:
        """Go on with the learning under way, to the end of what ``iterate`` was asked for."""
        collector = self.collector
        while self.steps < self.until:
            progress_remaining = (self.until - self.steps) / (self.until - self.began)
            with threads(self.num_threads):
                metrics = self.training_iteration(collector, progress_remaining)
            for name, figure in metrics.items():
                if not math.isfinite(figure):
                    raise DivergedError(f"{name} is {figure} after {self.steps} steps. {REMEDY}")
            yield TrainingUpdate(self.steps, metrics, collector.pop_episodes())

    def time_split(self) -> dict[str, float]:
        """Return seconds of learning so far spent in 'env' and in 'update'; the rest is acting."""
        return {**self.collector.seconds, **self.seconds}

    @property
    def collector(self) -> AnyCollector:
        """Of the training environments; they are made at the first call."""
        settings: Any = self.config
        return self.envs.collector(
            settings.num_envs, self.seed, self.device, fuse=self._compile == "fuse"
        )

    def learn(
        self,
        steps: int,
        *,
        progress: bool = False,
        callback: Callable[[TrainingUpdate], bool | None] | None = None,
        reset_num_timesteps: bool = True,
    ) -> Self:
        """Learn from ``steps`` more environment steps; see ``iterate``.

        Args:
            steps: How many.
            progress: Show steps, steps per second and the mean return of the latest 100 episodes:
                as a bar on a terminal or in a notebook, elsewhere as a line at each tenth.
            callback: Called after each update; returning False stops the training.
            reset_num_timesteps: Schedules begin again, as in ``iterate``.
        """
        updates = self.iterate(steps, reset_num_timesteps)
        for update in self._with_progress(updates) if progress else updates:
            go_on = None if callback is None else callback(update)
            if go_on is not None and not go_on:
                break
        return self

    def _with_progress(self, updates: Iterator[TrainingUpdate]) -> Iterator[TrainingUpdate]:
        """Pass updates on and show the progress."""
        from robolearn.progress import ProgressLine  # needs rich

        first, began = self.steps, time.perf_counter()
        returns: deque[float] = deque(maxlen=100)
        with ProgressLine(type(self).__name__, self.until - first, plain=True) as line:
            for update in updates:
                returns.extend(episode.total_reward for episode in update.episodes)
                mean = update.metrics.get("rollout/ep_rew_mean")  # summed up on the device
                mean = float(np.mean(returns)) if returns else mean
                made = update.steps - first
                line.update(made, made / (time.perf_counter() - began), mean)
                yield update

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Return actions for one observation or a batch; SB3's signature.

        It computes on one CPU thread, which is fastest for single observations.

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
        with torch.inference_mode(), one_thread():
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
        cls,
        folder: str | Path,
        *,
        env: Env | None = None,
        encoder: EncoderFactory | None = None,
        device: str = "auto",
    ) -> Self:
        """Read an agent back; it acts as it did and can go on learning, a replay memory empty.

        Args:
            folder: What ``save`` wrote.
            env: Environments to learn in, instead of the ones it was trained in.
            encoder: What the agent was made with, if it has an encoder of the user's.
            device: 'auto', 'cpu' or 'cuda'.

        Raises:
            RobolearnError: No agent there, a damaged one, or one of another algorithm.
        """
        return load_saved(cls, folder, env, encoder, device)

    def close(self) -> None:
        """Close the training environments."""
        self.envs.close()


def require_integer(name: str, number: Any) -> int:
    """Return a number as an integer, such as 100_000 for 1e5.

    Raises:
        RobolearnError: It is no whole number.
    """
    try:
        integer = int(number)
    except (TypeError, ValueError, OverflowError):
        integer = None
    if integer is None or integer != number:
        raise RobolearnError(f"{name} must be a whole number, got {number!r}.")
    return integer
