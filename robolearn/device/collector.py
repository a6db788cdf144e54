"""Stepping environments on a device: what ``collect`` does on the host, without looking."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from robolearn.clock import Clock
from robolearn.collect import Collector, Episode, Memory
from robolearn.data.rollout import DeviceStep
from robolearn.device.watch import Watch
from robolearn.errors import DivergedError
from robolearn.files import require_shape
from robolearn.spaces import flat_size
from robolearn_envs.torch_vector import Observation, TorchVectorEnv
from robolearn_envs.vector import OnNan

_OWN = ("obs", "starts", "total", "length", "tally")
TOLD = ("episodes", "episode_return", "episode_length", "episode_success")
"""What is told of the episodes that ended: how many, and the means of the others."""


class DeviceCollector:
    """Steps environments on a device and hands out clean transitions.

    All it keeps lies in the same storage for ever, and ``step`` never waits for the device, so
    that it can be captured in a CUDA graph. What happened is told by ``figures``, once a round.
    """

    def __init__(
        self,
        envs: TorchVectorEnv,
        seed: int | np.ndarray,
        *,
        stagger: int = 0,
        on_nan: OnNan = "stop",
        groups: int = 1,
    ) -> None:
        """Reset the environments.

        Args:
            envs: What to step, in mode SAME_STEP.
            seed: Env i is seeded ``seed + i``, or ``seed[i]``.
            stagger: Cut the first episode of each environment at a random step before this one;
                0 for none. See :class:`~robolearn.collect.Collector`.
            on_nan: 'stop' raises where a simulation broke down, 'reset' begins a new episode: the
                step, without a reward, counts as one that a time limit cut.
            groups: Of as many environments each, one after the other, whose episodes are counted
                apart, and staggered as they would be alone.
        """
        self.envs, self.num_envs, self.device = envs, envs.num_envs, envs.device
        self._space, self._on_nan = envs.single_observation_space, on_nan
        self.width = flat_size(self._space)
        first, _ = envs.reset(seed=seed)
        self.obs = self._flat(first).clone()
        """Observations as vectors. Shape (N, D), float32."""
        self.starts = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        """The observations that are the first of an episode. Shape (N,), bool."""
        self._valid = torch.ones_like(self.starts)
        self.total = torch.zeros(self.num_envs, device=self.device)
        self.length = torch.zeros(self.num_envs, device=self.device)
        self.tally = torch.zeros(groups, 5, dtype=torch.float64, device=self.device)
        """Sums over episodes ended: number, return, length, successes; and how many were lost.
        Shape (groups, 5)."""
        self.lost = 0
        """Episodes that broke down, as of the latest ``figures``."""
        self.past: deque[Memory] = deque()  # nothing: states stay on the device
        self.watch: Watch | None = None
        """Notes what some environments do; to be set before a step is captured."""
        self.clock = Clock()
        box = envs.single_action_space
        self._bounds: tuple[Tensor, Tensor] | None = None
        if isinstance(box, spaces.Box):
            low, high = (torch.from_numpy(end).to(self.device) for end in (box.low, box.high))
            self._bounds = low, (high - low) / 2
        if stagger > 1:
            firsts = np.atleast_1d(np.asarray(seed, dtype=np.int64))
            self.stagger(firsts[:: max(len(firsts) // groups, 1)], stagger)

    def stagger(self, seeds: np.ndarray, limit: int) -> None:
        """Cut the first episodes at random steps before ``limit``, as a time limit would.

        Args:
            seeds: Draw the steps, each for as many environments. Shape (S,).
            limit: Of the steps.
        """
        share = self.num_envs // len(seeds)
        cuts = [np.random.default_rng(int(s)).integers(1, limit, share) for s in seeds]
        self.envs.cut(torch.from_numpy(np.concatenate(cuts)).to(self.device))

    def _flat(self, observation: Observation) -> Tensor:
        if isinstance(observation, dict):
            parts = [observation[name] for name in self._space]  # type: ignore[attr-defined]
            return torch.cat([part.reshape(self.num_envs, -1) for part in parts], dim=1)
        return observation.reshape(self.num_envs, -1)

    def _command(self, action: Tensor) -> Tensor:
        """Return the environments' actions for a policy's, as ``spaces.to_env_action`` does."""
        if self._bounds is None:
            return action
        low, span = self._bounds
        return low + (action.clamp(-1.0, 1.0) + 1.0) * span

    @torch.no_grad()
    def step(self, action: Tensor) -> DeviceStep:
        """Advance all environments; an ended one begins its next episode.

        Args:
            action: Of the policy: in [-1, 1], shape (N, A), or int64 of shape (N,).
        """
        obs, limit = self.obs.clone(), self.envs.limit.clone()
        command = self._command(action)
        moved = self.envs.transition(command)
        done = moved.terminated | moved.truncated
        self.total += moved.reward
        self.length += 1
        cut = moved.truncated & ~moved.terminated & (limit < self.envs.task.max_steps)
        counted = done & ~cut & ~moved.broken
        if self.watch is not None:
            self.watch.note(self.starts, command, moved, counted)
        sums = [counted, self.total * counted, self.length * counted]
        sums += [moved.outcome["success"] & counted, moved.broken]
        groups = len(self.tally)
        apart = [each.view(groups, -1).sum(dim=1, dtype=torch.float64) for each in sums]
        self.tally += torch.stack(apart, dim=1)
        self.total *= ~done
        self.length *= ~done
        self.obs.copy_(self._flat(moved.obs))
        self.starts.copy_(done)
        reached = self._flat(moved.reached)
        return DeviceStep(obs, moved.reward, reached, moved.terminated, done, self._valid)

    def spoiled(self) -> Tensor:
        """Return in which groups a simulation broke down since ``figures``, if that is to stop all.

        Nothing is to be learned from what they did. Shape (groups,), bool.
        """
        lost = self.tally[:, -1] > 0
        return lost if self._on_nan == "stop" else torch.zeros_like(lost)

    def figures(self) -> dict[str, float]:
        """Return ``TOLD`` of the episodes that ended since the last call; waits for the device.

        Raises:
            DivergedError: A simulation broke down, and learning is to stop.
        """
        (told,) = self.each_figures()
        return told

    def each_figures(self, names: Sequence[str] = ("",)) -> list[dict[str, float]]:
        """Return the same of each group.

        Args:
            names: Of the groups, for errors.

        Raises:
            DivergedError: A simulation broke down, and learning is to stop.
        """
        tally = self.tally.tolist()
        self.tally.zero_()
        self.lost += int(sum(sums[-1] for sums in tally))
        return [self._told(sums, name) for sums, name in zip(tally, names, strict=True)]

    def _told(self, sums: Sequence[float], name: str) -> dict[str, float]:
        count, *totals, lost = sums
        if lost and self._on_nan == "stop":
            whose = f"{name}: " if name else ""
            raise DivergedError(
                f"{whose}The simulation of {lost:.0f} episodes broke down: their state is no "
                "longer finite. Mend the environment, or see whether its actions are sane."
            )
        if not count:
            return {}
        return dict(zip(TOLD, [count, *(total / count for total in totals)], strict=True))

    def pop_episodes(self) -> list[Episode]:
        """Return none: single episodes are not told apart on a device, ``figures`` sums them up."""
        return []

    def snapshot(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what ``resume`` needs to go on from here: what JSON can hold, and arrays."""
        own = {name: getattr(self, name).cpu().numpy().copy() for name in _OWN}
        envs = {f"envs/{name}": array for name, array in self.envs.snapshot().items()}
        return {"lost": self.lost}, own | envs

    def resume(self, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bool:
        """Go on from a snapshot, exactly.

        Returns:
            True.
        """
        self.lost = int(facts["lost"])
        theirs = {k.removeprefix("envs/"): v for k, v in arrays.items() if k.startswith("envs/")}
        self.envs.restore(theirs)
        for name in _OWN:
            kept: Tensor = getattr(self, name)
            require_shape(name, arrays[name], tuple(kept.shape))
            kept.copy_(torch.from_numpy(arrays[name]))
        return True


AnyCollector: TypeAlias = Collector | DeviceCollector
"""Of environments on the host or on a device."""
