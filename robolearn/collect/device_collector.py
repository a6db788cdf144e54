"""Stepping environments on a device, without waiting for it."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from robolearn.buffers.rollout_buffer import Transition
from robolearn.collect.collector import Collector, Episode, StepRecord
from robolearn.collect.trajectory_recorder import TrajectoryRecorder
from robolearn.errors import DivergedError
from robolearn.files import require_shape
from robolearn.spaces import flat_size
from robolearn_envs.torch_vector import Observation, TorchVectorEnv
from robolearn_envs.vector import OnDivergence

_OWN = ("obs", "starts", "total", "length", "tally", "recent", "finished")
RECENT = 100
"""Episodes that ``rollout/ep_rew_mean`` is the mean of, as on the host."""
EPISODE_METRICS = ("rollout/num_episodes", "rollout/ep_len_mean", "rollout/success_rate")
"""Metrics of the episodes that ended: how many, and means of the others."""


class DeviceCollector:
    """Steps environments on a device and returns transitions without resets.

    Its tensors stay in the same storage and ``advance`` never waits for the device, so that it can
    be captured in a CUDA graph. ``episode_metrics`` reports on episodes, once an iteration.
    """

    def __init__(
        self,
        envs: TorchVectorEnv,
        seed: int | np.ndarray,
        *,
        stagger: int = 0,
        on_divergence: OnDivergence = "raise",
        num_seeds: int = 1,
    ) -> None:
        """Reset the environments.

        Args:
            envs: What to step, in mode SAME_STEP.
            seed: Env i is seeded ``seed + i``, or ``seed[i]``.
            stagger: As for :class:`~robolearn.collect.collector.Collector`.
            on_divergence: Response to a simulation that diverged: 'raise' raises, 'truncate' begins
                a new episode, and the step counts as truncated, with reward 0.
            num_seeds: Agents, of as many environments each, one after the other, whose episodes are
                counted apart and staggered as they would be alone.
        """
        self.envs, self.num_envs, self.device = envs, envs.num_envs, envs.device
        self._space, self._on_divergence = envs.single_observation_space, on_divergence
        self.width = flat_size(self._space)
        first, _ = envs.reset(seed=seed)
        self.obs = self._flat(first).clone()
        """Observations as vectors. Shape (N, D), float32."""
        self.starts = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        """The observations that are the first of an episode. Shape (N,), bool."""
        self.total = torch.zeros(self.num_envs, device=self.device)
        self.length = torch.zeros(self.num_envs, device=self.device)
        self.tally = torch.zeros(num_seeds, 4, dtype=torch.float64, device=self.device)
        """Sums over episodes ended: number, length, successes; and how many diverged.
        Shape (num_seeds, 4)."""
        self.recent = torch.zeros(num_seeds, RECENT + 1, dtype=torch.float64, device=self.device)
        """Returns of the latest episodes, the k-th at k mod ``RECENT``; the last column is unused.
        Shape (num_seeds, RECENT + 1)."""
        self.finished = torch.zeros(num_seeds, dtype=torch.int64, device=self.device)
        """Episodes ended. Shape (num_seeds,)."""
        self.num_dropped = 0
        """Episodes that diverged, as of the latest ``episode_metrics``."""
        self.recent_steps: deque[StepRecord] = deque()  # empty: states stay on the device
        self.recorder: TrajectoryRecorder | None = None
        """Records some environments; to be set before a step is captured."""
        self.seconds = {"env": 0.0}  # not measured on a device
        box = envs.single_action_space
        self._bounds: tuple[Tensor, Tensor] | None = None
        if isinstance(box, spaces.Box):
            low, high = (torch.from_numpy(end).to(self.device) for end in (box.low, box.high))
            self._bounds = low, (high - low) / 2
        if stagger > 1:
            firsts = np.atleast_1d(np.asarray(seed, dtype=np.int64))
            self.stagger(firsts[:: max(len(firsts) // num_seeds, 1)], stagger)

    def stagger(self, seeds: np.ndarray, limit: int) -> None:
        """Truncate the first episodes at random steps before ``limit``.

        Each of the S ``seeds`` draws those of ``num_envs`` / S environments.
        """
        share = self.num_envs // len(seeds)
        cuts = [np.random.default_rng(int(s)).integers(1, limit, share) for s in seeds]
        self.envs.set_episode_lengths(torch.from_numpy(np.concatenate(cuts)).to(self.device))

    def _flat(self, observation: Observation) -> Tensor:
        if isinstance(observation, dict):
            parts = [observation[name] for name in self._space]  # type: ignore[attr-defined]
            return torch.cat([part.reshape(self.num_envs, -1) for part in parts], dim=1)
        return observation.reshape(self.num_envs, -1)

    def _to_env_action(self, action: Tensor) -> Tensor:
        """Return the environments' actions for a policy's, as ``spaces.to_env_action`` does."""
        if self._bounds is None:
            return action
        low, span = self._bounds
        return low + (action.clamp(-1.0, 1.0) + 1.0) * span

    @torch.no_grad()
    def advance(self, action: Tensor, *, interruptible: bool = False) -> Transition:
        """Step all environments by actions in [-1, 1], shape (N, A), or int64 of shape (N,).

        ``interruptible`` has no effect: what may be captured cannot be interrupted.
        """
        obs, limit = self.obs.clone(), self.envs.episode_lengths.clone()
        command = self._to_env_action(action)
        moved = self.envs.step_fn(command)
        done: Tensor = moved.terminated | moved.truncated  # type: ignore[assignment]
        self.total += moved.reward
        self.length += 1
        cut = moved.truncated & ~moved.terminated & (limit < self.envs.task.max_episode_steps)
        counted = done & ~cut & ~moved.diverged
        if self.recorder is not None:
            self.recorder.record(self.starts, command, moved, counted)
        self._record_returns(counted)
        sums = [counted, self.length * counted]
        sums += [moved.metrics["success"] & counted, moved.diverged]
        num_seeds = len(self.tally)
        apart = [each.view(num_seeds, -1).sum(dim=1, dtype=torch.float64) for each in sums]
        self.tally += torch.stack(apart, dim=1)
        self.total *= ~done
        self.length *= ~done
        self.obs.copy_(self._flat(moved.obs))
        self.starts.copy_(done)
        reached = self._flat(moved.final_obs)
        return Transition(obs, moved.reward, reached, moved.terminated, done, valid=None)

    def observe(self) -> tuple[Tensor, Tensor]:
        """Return copies of ``obs`` and ``starts``."""
        return self.obs.clone(), self.starts.clone()

    def _record_returns(self, counted: Tensor) -> None:
        """Write the returns of episodes that ended, shape (N,), bool, over the oldest ones."""
        ended = counted.view(len(self.finished), -1)
        number = self.finished[:, None] + ended.cumsum(dim=1) - 1  # of each episode, from 0
        self.finished += ended.sum(dim=1)
        latest = ended & (number >= self.finished[:, None] - RECENT)  # no place is written twice
        place = torch.where(latest, number % RECENT, RECENT)
        self.recent.scatter_(1, place, self.total.view_as(ended).to(self.recent.dtype))
        self.recent[:, RECENT].zero_()

    @property
    def diverged(self) -> Tensor:
        """Seeds whose simulation diverged since ``episode_metrics``, where that stops training.

        Their steps must not be learned from. Shape (num_seeds,), bool.
        """
        lost = self.tally[:, -1] > 0
        return lost if self._on_divergence == "raise" else torch.zeros_like(lost)

    def episode_metrics(self) -> dict[str, float]:
        """Return ``EPISODE_METRICS`` of the episodes that ended since the last call.

        It waits for the device. Once any episode has ended there is also ``rollout/ep_rew_mean``,
        the mean of the last ``RECENT`` ones.

        Raises:
            DivergedError: A simulation diverged, and learning is to stop.
        """
        (metrics,) = self.episode_metrics_by_seed()
        return metrics

    def episode_metrics_by_seed(self, names: Sequence[str] = ("",)) -> list[dict[str, float]]:
        """Return ``episode_metrics`` of each seed; ``names`` are theirs, for errors."""
        returns = self.recent.sum(dim=1) / self.finished.clamp(1, RECENT)
        tally = torch.cat([returns[:, None], self.finished[:, None], self.tally], dim=1).tolist()
        self.tally.zero_()
        self.num_dropped += int(sum(sums[-1] for sums in tally))
        by_seed: list[dict[str, float]] = []
        for (mean_return, finished, count, *totals, lost), name in zip(tally, names, strict=True):
            if lost and self._on_divergence == "raise":
                whose = f"{name}: " if name else ""
                raise DivergedError(
                    f"{whose}{lost:.0f} environments diverged: their state is not finite. No "
                    "update was made. Check the environment and its actions."
                )
            metrics = {"rollout/ep_rew_mean": mean_return} if finished else {}
            if count:
                means = [count, *(total / count for total in totals)]
                metrics |= zip(EPISODE_METRICS, means, strict=True)
            by_seed.append(metrics)
        return by_seed

    def pop_episodes(self) -> list[Episode]:
        """Return none: on a device ``episode_metrics`` sums episodes up."""
        return []

    def snapshot(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what ``resume`` needs to go on from here: what JSON can hold, and arrays."""
        own = {name: getattr(self, name).cpu().numpy().copy() for name in _OWN}
        envs = {f"envs/{name}": array for name, array in self.envs.get_state().items()}
        return {"num_dropped": self.num_dropped}, own | envs

    def resume(self, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bool:
        """Go on from a snapshot; return True, as it is always exact."""
        self.num_dropped = int(facts["num_dropped"])
        theirs = {k.removeprefix("envs/"): v for k, v in arrays.items() if k.startswith("envs/")}
        self.envs.set_state(theirs)
        for name in _OWN:
            kept: Tensor = getattr(self, name)
            require_shape(name, arrays[name], tuple(kept.shape))
            kept.copy_(torch.from_numpy(arrays[name]))
        return True


AnyCollector: TypeAlias = Collector | DeviceCollector
"""Of environments on the host or on a device."""
