"""What all our agents share: building, learning, acting, saving and loading."""

import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, get_args, get_origin

import numpy as np
import torch
from gymnasium import Space
from torch import Tensor

from robolearn.accelerate import choose_device, one_thread, threads
from robolearn.agents.defaults import default_config
from robolearn.agents.protocols import TrainingUpdate
from robolearn.agents.saving import Parts, read_agent, saved_state
from robolearn.collect.cuda_graph import CudaGraph, resolve_cuda_graphs
from robolearn.collect.device_collector import AnyCollector, DeviceCollector
from robolearn.config import check_ranges
from robolearn.environments import Env, TrainingEnvs, check_seed
from robolearn.errors import DivergedError, RobolearnError
from robolearn.networks.actor_critic import STD_RANGE
from robolearn.networks.encoders import EncoderFactory, ObservationEncoder
from robolearn.networks.flat_adam import REMEDY, FlatAdam
from robolearn.runs.checkpoint import write_checkpoint
from robolearn.spaces import flatten_any, require_action_space, to_env_action
from robolearn_envs.engines import HOST_EQUIVALENT
from robolearn_envs.names import did_you_mean

_COUNT, _AMOUNT, _PART = (1, math.inf), (0, math.inf), (0, 1)
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("num_envs", "hidden_sizes", "cnn_features_dim", "num_threads"), _COUNT),
    **dict.fromkeys(("n_steps", "n_epochs", "batch_size", "adapter_rank"), _COUNT),
    **dict.fromkeys(("n_step", "buffer_size", "train_freq", "gradient_steps"), _COUNT),
    "target_update_interval": _COUNT,
    **dict.fromkeys(("learning_rate", "max_grad_norm", "gru_hidden_size"), _AMOUNT),
    **dict.fromkeys(("ent_coef", "vf_coef", "clip_range", "clip_range_vf"), _AMOUNT),
    **dict.fromkeys(("desired_kl", "bc_kl_coef", "critic_warmup_lr"), _AMOUNT),
    **dict.fromkeys(("learning_starts", "adam_eps", "num_demo_transitions"), _AMOUNT),
    **dict.fromkeys(("demo_priority_bonus", "expert_margin", "margin_loss_coef"), _AMOUNT),
    **dict.fromkeys(("one_step_loss_coef", "l2_coef"), _AMOUNT),
    **dict.fromkeys(("gamma", "gae_lambda", "q_lambda", "step_size_exponent"), _PART),
    **dict.fromkeys(("bc_kl_anneal_fraction", "critic_warmup_fraction"), _PART),
    **dict.fromkeys(("exploration_initial_eps", "exploration_final_eps"), _PART),
    **dict.fromkeys(("exploration_fraction", "per_alpha", "per_beta_start"), _PART),
    **dict.fromkeys(("demo_ratio", "margin_anneal_fraction"), _PART),
    "first_layer_gain": (1e-6, math.inf),
    "init_std": STD_RANGE,
}
"""Ranges of hyper-parameters, the same in all agents."""


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """Hyper-parameters of all agents. A step always means one environment step."""

    lr_schedules: ClassVar[tuple[str, ...]] = ("linear", "constant")

    num_envs: int = 16
    """Environments stepped together."""
    gamma: float = 0.99
    """Discount per step, in [0, 1]."""

    def __post_init__(self) -> None:
        """Refuse values out of range and unknown choices."""
        check_ranges(self, {name: _RANGES[name] for name in _RANGES if hasattr(self, name)})
        choices = {f.name: get_args(f.type) for f in fields(self) if get_origin(f.type) is Literal}
        if hasattr(self, "lr_schedule"):
            choices["lr_schedule"] = self.lr_schedules
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise RobolearnError(did_you_mean(name, getattr(self, name), allowed))


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(AgentConfig):
    """Hyper-parameters of all agents with networks. A step always means one environment step."""

    learning_rate: float = 1e-3
    """Adam's learning rate, at the start of training if it has a schedule."""
    first_layer_gain: float = 1.0
    """Scale of the first layers' initial weights. Larger ones distinguish nearby states, as a
    controller that switches between extremes must."""
    log_scale_obs: bool = False
    """Take the logarithm of observations that cannot be negative, such as ranges."""
    cnn_features_dim: int = 128
    """Width an image is encoded to."""
    num_threads: int = 1
    """CPU threads of the networks; more are faster only with images, on idle cores."""
    normalize_obs: bool = True
    """Normalize observations by their running mean and variance."""

    def encoder(
        self, space: Space, custom: EncoderFactory | None, generator: torch.Generator
    ) -> ObservationEncoder:
        """Return an encoder of a space's observations, with weights drawn by ``generator``."""
        return ObservationEncoder(
            space,
            features=self.cnn_features_dim,
            log_scale_obs=self.log_scale_obs,
            normalize=self.normalize_obs,
            custom=custom,
            generator=generator,
        )


C = TypeVar("C")
R = TypeVar("R")


class BaseAgent(ABC, Generic[C]):
    """An agent without an algorithm: each adds its networks, how it acts, and how it learns."""

    name: ClassVar[str]
    """As the command line has it."""
    Config: ClassVar[Any]
    """Class of its hyper-parameters."""
    discrete_only: ClassVar[bool] = False
    """It serves one discrete action, no continuous ones and not several at once."""
    supports_gpu_envs: ClassVar[bool] = False
    """It learns where the simulation is, on engines whose copies live on a device."""
    num_threads = 1
    """CPU threads of its networks while it learns."""
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
            seed: Of everything random.
            device: 'auto', 'cpu' or 'cuda'; engines on a device take the same.
            compile: 'graph' captures repeated work as CUDA graphs, with the same results; 'off'
                does not; 'auto' does where possible, and ``how`` says which. 'fuse' is 'auto', and
                compiles the step of engine 'torch' into few kernels. That takes half a minute the
                first time and may change the last digits of numbers.
            encoder: Makes an encoder of observations, in place of ours: a function of the
                observation space and a random generator. It returns a module with an attribute
                ``width``, which maps flat observations (..., D) to features (..., width).
            **env_kwargs: Passed on to the environment.

        Raises:
            RobolearnError: Unknown environment, spaces the agent cannot serve, a seed out of
                range, or hyper-parameters that do not go together.
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
        count = self.envs.batch_size(num_envs)
        if config is None:
            self.config = default_config(self.Config, self.name, self.envs.id, count)
        else:
            asked: Any = config
            self.config = replace(asked, num_envs=count or asked.num_envs)
        self.seed = seed = require_integer("seed", seed)
        self.steps = 0
        self.began = self.until = 0  # steps at which schedules began, and learning will end
        self.seconds = {"update": 0.0}
        self.device = choose_device(device)
        self._defer_finite_checks = self.envs.on_device or self.device.type != "cpu"
        """Check for NaN once an iteration, instead of waiting at each gradient step."""
        self._compile = compile
        self.how = "eager"
        """Eager or captured as CUDA graphs, and why."""
        if self.envs.on_device and not self.supports_gpu_envs:
            raise RobolearnError(
                f"{type(self).__name__} learns from environments on the host, got engine="
                f"'{self.envs.engine}'. Use engine='{HOST_EQUIVALENT[self.envs.engine or '']}', or "
                "PPO."
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

    @abstractmethod
    def _act(
        self, obs: Tensor, state: Any, episode_start: Any, deterministic: bool
    ) -> tuple[Tensor, Any]:
        """Return actions for flat observations, shape (N, D), and the recurrent state."""

    @abstractmethod
    def parts(self) -> Parts:
        """Return what of the agent changes while it learns."""

    def _finish_deferred(self, collector: AnyCollector, optimizer: FlatAdam) -> dict[str, float]:
        """Check an iteration for NaN, and return metrics of episodes ended on the device.

        Raises:
            DivergedError: A simulation or an update diverged. Nothing was learned from it.
        """
        metrics: dict[str, float] = {}
        if isinstance(collector, DeviceCollector):
            try:
                metrics = collector.episode_metrics()
            except DivergedError:
                optimizer.forgive()
                raise
        optimizer.check()
        return metrics

    def _captured(self, function: Callable[..., R], blocker: str | None) -> Callable[..., R]:
        """Return a function, which draws from ``_rng`` alone, as a CUDA graph; sets ``how``.

        If that cannot be, for instance because of ``blocker``, the function itself is returned.

        Raises:
            RobolearnError: A graph was asked for, and cannot be.
        """
        captures, self.how = resolve_cuda_graphs(self._compile, self.device, blocker)
        return CudaGraph(function, capture=True, generators=[self._rng]) if captures else function

    def iterate(self, steps: int, reset_num_timesteps: bool = True) -> Iterator[TrainingUpdate]:
        """Learn from ``steps`` more environment steps, reporting after each update.

        Rollouts are whole, as in SB3: the last one may go past ``steps``.

        Args:
            steps: How many.
            reset_num_timesteps: Start schedules again, over ``steps``. If False they continue, as
                in SB3: they run from their last start over all steps since then and ``steps`` more.
                A learning rate that had fallen to 0 is then higher again.

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
            reset_num_timesteps: Start schedules again, as in ``iterate``.
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
            state: The recurrent state that the last call returned, shape (N, width); None at first.
            episode_start: Where the recurrent state is reset. Shape (N,).
            deterministic: Take the best action, instead of exploring as at the end of training.

        Returns:
            Actions as the environment takes them, one or N; and the recurrent state, or without a
            GRU ``state`` as it came.

        Raises:
            RobolearnError: Observations or a state of another shape.
        """
        flat, single = flatten_any(self.envs.observation_space, observation)
        with torch.inference_mode(), one_thread():
            obs = torch.from_numpy(flat).to(self.device)
            action, state = self._act(obs, state, episode_start, deterministic)
        actions = to_env_action(self._actions, action.cpu().numpy())
        return (actions[0] if single else actions), state

    def save(self, folder: str | Path) -> None:
        """Write the agent, without its replay buffer; an agent already in ``folder`` is replaced.

        Raises:
            DivergedError: It has a number that is not finite; nothing was written.
        """
        write_checkpoint(Path(folder), *saved_state(self))

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        env: Env | None = None,
        encoder: EncoderFactory | None = None,
        device: str = "auto",
    ) -> Self:
        """Return a saved agent; it acts as it did and can go on learning, with no replay buffer.

        Args:
            folder: What ``save`` wrote.
            env: Environments to learn in, instead of the ones it was trained in.
            encoder: What the agent was made with, if it has an encoder of the user's.
            device: 'auto', 'cpu' or 'cuda'.

        Raises:
            RobolearnError: No agent there, a damaged one, or one of another algorithm.
        """
        how: dict[str, Any] = {} if encoder is None else {"encoder": encoder}
        agent, *_ = read_agent(cls, Path(folder), env, device, **how)
        return agent

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


def linear_schedule(start: float, end: float, fraction: float | None, progress: float) -> float:
    """Return a value that changes linearly from ``start`` to ``end`` and then stays there.

    Args:
        start: Value at the start of training.
        end: Value once ``fraction`` of training is over.
        fraction: In [0, 1]; 0 gives ``end`` at once, None stays at ``start``.
        progress: Part of training that is over, in [0, 1].
    """
    if fraction is None:
        return start
    changed = min(progress / fraction, 1.0) if fraction else 1.0
    return start + (end - start) * changed
