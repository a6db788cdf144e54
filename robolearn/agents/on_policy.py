"""What PPO, A2C and REINFORCE share: networks, collecting rollouts, acting."""

import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from robolearn.agents.base import BaseAgent, NetworkConfig
from robolearn.agents.saving import Parts
from robolearn.buffers.rollout_buffer import Rollout, RolloutBuffer
from robolearn.collect.collector import Collector
from robolearn.collect.cuda_graph import CudaGraph
from robolearn.collect.device_collector import AnyCollector
from robolearn.errors import RobolearnError
from robolearn.networks.actor_critic import (
    ActorCritic,
    CategoricalDistribution,
    distribution,
)
from robolearn.networks.flat_adam import FlatAdam
from robolearn.spaces import flatten_any


@dataclass(frozen=True, kw_only=True)
class OnPolicyConfig(NetworkConfig):
    """Hyper-parameters of all policy gradients. A step always means one environment step."""

    num_envs: int = 32
    """Environments stepped together."""
    n_steps: int = 64
    """Steps of each environment between two updates."""
    lr_schedule: str = "linear"
    """Let the learning rate fall linearly to 0 (linear), or stay (constant)."""
    ent_coef: float = 0.0
    """Coefficient of the entropy bonus."""
    vf_coef: float = 0.5
    """Coefficient of the value loss."""
    max_grad_norm: float = 0.5
    """Largest gradient norm, of policy and critic together; longer ones are clipped."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers, of policy and critic each."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Of the hidden layers."""
    gru_hidden_size: int = 0
    """Width of a GRU between observations and policy; 0 for none."""
    init_std: float = 1.0
    """Standard deviation of continuous actions at the start, where the action range is [-1, 1];
    between 0.0068 and 7.38, as later."""
    state_dependent_std: bool = False
    """Let the standard deviation of continuous actions depend on the observation."""
    squash_output: bool = False
    """Squash continuous actions into their bounds by tanh, instead of clipping them."""
    normalize_value: bool = True
    """Normalize value targets by the running mean and variance of returns."""
    normalize_advantage: bool = True
    """Shift and scale the advantages of a rollout to mean 0 and standard deviation 1."""

    @property
    def rollout_size(self) -> int:
        """Steps of all environments in a rollout."""
        return self.num_envs * self.n_steps


P = TypeVar("P", bound=OnPolicyConfig)


class OnPolicyAgent(BaseAgent[P]):
    """Collects rollouts with its policy and hands them to ``_update``."""

    takes_encoder = True
    full_episodes: ClassVar[bool] = False
    """A rollout is one episode of each environment from its start, instead of a number of steps."""

    def _build(self, weights: torch.Generator) -> None:
        config = self.config
        self.net = self._network(weights).to(self.device)
        self._buffer = RolloutBuffer(config.num_envs, self.net.width, self.device)
        self.optimizer = FlatAdam(self.net, eps=1e-5, deferred=self._defer_finite_checks)
        self.num_threads = config.num_threads
        self._run_iteration = self._captured(self._iteration, self._graph_blocker())
        self._counted = False  # whether observations are known to have been counted
        self._updates_obs_norm = True

    def _network(self, weights: torch.Generator) -> ActorCritic:
        """Return policy and value network, whose weights ``weights`` draws."""
        config = self.config
        unbounded = isinstance(self._actions, Box) and not self._actions.is_bounded()
        if config.squash_output and unbounded:
            raise RobolearnError(
                f"squash_output needs bounded actions, got {self._actions}. Leave it out."
            )
        encoder = config.encoder(self.envs.observation_space, self.encoder, weights)
        head = distribution(
            self._actions,
            init_std=config.init_std,
            state_dependent_std=config.state_dependent_std,
            squash_output=config.squash_output,
        )
        return ActorCritic(
            encoder,
            head,
            hidden=config.hidden_sizes,
            activation=config.activation,
            memory=config.gru_hidden_size,
            first_layer_gain=config.first_layer_gain,
            generator=weights,
        )

    def _graph_blocker(self) -> str | None:
        """Return why an iteration cannot be captured as a CUDA graph, None where it can."""
        return None if self.envs.on_device else "the environments are not on the device"

    def _reset_optimizer(self) -> None:
        """Forget Adam's moments; a captured graph is dropped where other parameters are trained."""
        if not self.optimizer.restart(self.net):
            self.optimizer = FlatAdam(self.net, eps=1e-5, deferred=self._defer_finite_checks)
            if isinstance(self._run_iteration, CudaGraph):
                self._run_iteration.reset()

    @abstractmethod
    def _update(self, rollout: Rollout) -> dict[str, Tensor]:
        """Take gradient steps on a rollout and return metrics of them, each of shape ()."""

    def training_iteration(
        self, collector: AnyCollector, progress_remaining: float
    ) -> dict[str, float]:
        """Collect a rollout, learn from it, and return metrics."""
        falls = self.config.lr_schedule == "linear"
        rate = self.config.learning_rate * (progress_remaining if falls else 1.0)
        return self._train(collector, rate)

    def _train(self, collector: AnyCollector, rate: float) -> dict[str, float]:
        """Do an iteration at a learning rate."""
        self.optimizer.set_rate(rate)
        counted = self._counted or not self.net.encoder.awaits_normalization()
        metrics = self._run_iteration(collector, self.config.n_steps, counted)
        self.steps += self._buffer.step * self.config.num_envs
        # Here, and nowhere before, the device is waited for.
        numbers = torch.stack(list(metrics.values())).tolist() if metrics else []
        read = dict(zip(metrics, numbers, strict=True)) | {"train/learning_rate": rate}
        if self.optimizer.stopped is not None:
            read |= self._finish_deferred(collector, self.optimizer)
        self._counted = counted or (bool(metrics) and self._updates_obs_norm)
        return read

    def _iteration(self, collector: AnyCollector, n_steps: int, counted: bool) -> dict[str, Tensor]:
        """Collect a rollout and learn from it; captured as a CUDA graph where that can be.

        Args:
            collector: Of the training environments.
            n_steps: Of each environment.
            counted: The observation normalizer has seen data. If not, it is updated with this
                rollout before the gradient steps, so that they see normalized observations. Later
                ones update it afterwards, since the policy acted by the moments from before.
        """
        net, encoder = self.net, self.net.encoder
        rollout = collect(
            net.act,
            lambda *shape: net.head.draw_noise(*shape, generator=self._rng),
            collector,
            self._buffer,
            n_steps,
            full_episodes=self.full_episodes,
        )
        began = time.perf_counter()
        if collector.diverged is not None:
            self.optimizer.forbid(collector.diverged.any())
        elif rollout.valid is not None and not rollout.valid.any():
            return {}  # of resets alone there is nothing to learn
        seen = rollout.obs if rollout.valid is None else rollout.obs[rollout.valid]
        if not counted and self._updates_obs_norm:
            encoder.update_normalization(seen, self.optimizer.stopped)
            with torch.no_grad():
                start = rollout.episode_start
                latent = net.encode(rollout.obs, rollout.initial_latent, start)
            rollout = rollout._replace(latent=latent)
        metrics = self._update(rollout)
        if counted and self._updates_obs_norm:
            encoder.update_normalization(seen, self.optimizer.stopped)
        self.seconds["update"] += time.perf_counter() - began
        return metrics

    def _act(
        self, obs: Tensor, state: Any, episode_start: Any, deterministic: bool
    ) -> tuple[Tensor, Any]:
        latent = self._encode_obs(obs, state, episode_start)
        state = state if self.net.memory is None else latent.cpu().numpy()
        output, head = self.net.policy(latent), self.net.head
        if deterministic:
            return head.executed(head.mode(output)), state
        noise = head.draw_noise(len(output), generator=self._predict_rng)
        return head.executed(head.sample(output, noise)), state

    def value(self, observation: Any, state: Any = None) -> np.ndarray:
        """Return V of N observations, in units of reward, shape (N,); arguments as ``predict``."""
        with torch.inference_mode():
            return self.net.value(self._encode_any(observation, state)).cpu().numpy()

    def action_probabilities(self, observation: Any, state: Any = None) -> np.ndarray | None:
        """Return probabilities of discrete actions, shape (N, A), else None; see ``predict``."""
        if not isinstance(self.net.head, CategoricalDistribution):
            return None
        with torch.inference_mode():
            latent = self._encode_any(observation, state)
            return self.net.policy(latent).softmax(dim=-1).cpu().numpy()

    def _encode_any(self, observation: Any, state: Any) -> Tensor:
        """Return the latents of one observation or N. Shape (N, width)."""
        flat, _ = flatten_any(self.envs.observation_space, observation)
        return self._encode_obs(torch.from_numpy(flat).to(self.device), state, None)

    def _encode_obs(self, obs: Tensor, state: Any, episode_start: Any) -> Tensor:
        """Return the latents of flat observations; ``state`` and starts as ``predict`` has them."""
        if self.net.memory is None:
            return self.net.encoder(obs)
        shape = (len(obs), self.net.width)
        before = torch.zeros(shape, device=self.device)
        start = torch.zeros(len(obs), dtype=torch.bool, device=self.device)
        before = before if state is None else torch.as_tensor(state).to(before)
        if before.shape != shape:
            raise RobolearnError(f"state must have shape {shape}, got {tuple(before.shape)}.")
        if episode_start is not None:
            start |= torch.as_tensor(episode_start).to(start)
        return self.net.encode(obs, before, start)

    def parts(self) -> Parts:
        """Return what of the agent changes while it learns."""
        return Parts(
            modules={"net": self.net},
            optimizer=self.optimizer,
            generators={"train": self._rng, "play": self._predict_rng},
            keepers={"rollout": self._buffer},
        )


@torch.no_grad()
def collect(
    act: Callable[..., tuple[Tensor, Tensor, Tensor]],
    draw_noise: Callable[[int, int], Tensor],
    collector: AnyCollector,
    buffer: RolloutBuffer,
    n_steps: int,
    *,
    full_episodes: bool = False,
) -> Rollout:
    """Collect a rollout, or the rest of one; on a device without waiting for it.

    Args:
        act: :meth:`ActorCritic.act` of the network or networks that act.
        draw_noise: Draws noise for T steps of N environments.
        collector: Of N environments.
        buffer: Of the same.
        n_steps: T; a rollout of full episodes may have fewer steps.
        full_episodes: One episode of each environment from its start, whose steps alone count.

    Raises:
        Stopped: On request, between two steps; the next call goes on there.
    """
    if not buffer.n_steps:
        if full_episodes:
            assert isinstance(collector, Collector)
            collector.restart()
        buffer.begin(draw_noise(n_steps, collector.num_envs))
    while buffer.step < buffer.n_steps and (not full_episodes or buffer.playing.any()):
        obs, start = (each.to(buffer.latent.device) for each in collector.observe())
        latent, action, executed = act(obs, buffer.latent, start, buffer.noise[buffer.step])
        transition = collector.advance(executed, interruptible=True)
        if full_episodes:
            assert transition.valid is not None
            transition = transition._replace(valid=transition.valid & buffer.playing)
            buffer.playing &= ~transition.done
        buffer.add(start, latent, action, transition)
    return buffer.finish()


def next_values(net: ActorCritic, rollout: Rollout) -> Tensor:
    """Return V of the state each step *reached*, before any reset, in reward. Shape (T, N)."""
    going_on = torch.zeros_like(rollout.done).flatten()
    latent = net.encode(rollout.next_obs.flatten(0, 1), rollout.latent.flatten(0, 1), going_on)
    return net.value(latent).view_as(rollout.reward)


def explained_variance(predicted: Tensor, returns: Tensor) -> Tensor:
    """Return 1 - Var(returns - predicted) / Var(returns), 0 for constant returns. Shape ().

    ``predicted`` are the values before the update, ``returns`` their targets. Shapes (B,).
    """
    spread = returns.var(correction=0)
    left = (returns - predicted).var(correction=0)
    return torch.where(spread > 0, 1 - left / spread.clamp_min(1e-12), 0.0)
