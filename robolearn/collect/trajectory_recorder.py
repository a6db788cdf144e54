"""Recording trajectories of a few environments on a device."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robolearn_envs.core.episodes import StepResult
from robolearn_envs.torch_vector import TorchVectorEnv

ENV_STRIDE = 1000
"""One of so many environments is recorded."""
MAX_ENVS = 8
"""Environments recorded, at most."""
_FLAGS = ("start", "terminated", "truncated", "whole")
_OUTCOMES = ("success", "collision")


class RecordedTrajectory(NamedTuple):
    """One episode of T steps, on the host."""

    env: int
    """Which environment."""
    fps: float
    """Steps per second of simulated time."""
    states: Mapping[str, np.ndarray]
    """What ``RoboVectorEnv.show`` draws, by name, from the first to the last state reached.
    Shapes (T + 1, ...), float64."""
    actions: np.ndarray
    """As the environment takes them. Shape (T, ...)."""
    rewards: np.ndarray
    """Shape (T,), float64."""
    terminated: bool
    """The last step entered an absorbing state."""
    truncated: bool
    """The last step reached the time limit."""
    outcome: Mapping[str, bool]
    """Outcome of the episode by the task: ``success``, ``collision``."""


class TrajectoryRecorder:
    """Records environments 0, 1000, 2000, ... in a ring buffer on their device.

    The ring holds as many steps as two of the longest episodes, so that a whole one is always in
    it, once the first is over. Recording a step can be captured in a CUDA graph, and copies to the
    host do not stop the device.
    """

    def __init__(
        self, envs: TorchVectorEnv, *, every: int = ENV_STRIDE, most: int = MAX_ENVS
    ) -> None:
        """Record environments that have been reset, from their next step on.

        Args:
            envs: In mode SAME_STEP. Their steps return more from now on: none may have been
                captured yet.
            every: One of so many is recorded, from env 0 on.
            most: How many are recorded, at most.

        Raises:
            ValueError: ``every`` or ``most`` is less than 1.
        """
        if min(every, most) < 1:
            raise ValueError(f"every and most must be at least 1, got {every} and {most}.")
        self._rows = slice(0, every * most, every)
        self.indices = tuple(range(envs.num_envs)[self._rows])
        """Environments recorded, W of them."""
        envs.record_render_states(self._rows)
        drawn, space = envs.get_render_state(), envs.single_action_space
        self._shapes = {name: tuple(rows.shape[1:]) for name, rows in drawn.items()}
        self._action = space.shape or (), space.dtype
        outcome = envs.task.metric_docs
        self._outcomes = tuple(name for name in _OUTCOMES if name in outcome)
        self._fps = float(envs.metadata["render_fps"])
        state = sum(map(_size, self._shapes.values()))
        widths = [state, state, _size(self._action[0]), 1, len(_FLAGS), len(self._outcomes)]
        self._splits = np.cumsum(widths)[:-1]
        shape = 2 * envs.task.max_episode_steps, len(self.indices), sum(widths)
        self._ring = drawn["qpos"].new_zeros(shape)
        self._count = torch.zeros(1, dtype=torch.int64, device=envs.device)  # steps recorded
        self._sources = [self._ring, self._count]
        cuda = self._ring.is_cuda
        self._host = [
            torch.empty_like(each, device="cpu", pin_memory=cuda) for each in self._sources
        ]
        self._still = [torch.empty_like(each) for each in self._sources if cuda]
        self._stream = torch.cuda.Stream(self._ring.device) if cuda else None  # of copies
        self._event = torch.cuda.Event() if cuda else None  # a copy has arrived
        self._under_way = False

    def record(self, starts: Tensor, action: Tensor, moved: StepResult, whole: Tensor) -> None:
        """Record a step, without waiting for the device.

        Args:
            starts: It was the first one of an episode. Shape (N,), bool.
            action: As the environments take it. Shape (N, ...).
            moved: What it led to.
            whole: An episode ended that was neither staggered nor diverged. Shape (N,), bool.
        """
        flags = [starts, moved.terminated, moved.truncated, whole]
        flags += [moved.metrics[name] for name in self._outcomes]
        columns = [each[self._rows] for each in (action, moved.reward, *flags)]
        flat = [each.reshape(len(each), -1).to(self._ring.dtype) for each in columns]
        row = torch.cat([*moved.render_states, *flat], dim=1)
        self._ring.index_copy_(0, self._count % len(self._ring), row[None])
        self._count += 1

    def request(self) -> None:
        """Begin to copy the ring as it is now to the host, unless a copy was not fetched yet."""
        if self._under_way:
            return
        self._under_way = True
        if self._stream is None or self._event is None:
            _copy(self._sources, self._host)
            return
        _copy(self._sources, self._still)  # in the stream that writes into the ring
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            _copy(self._still, self._host)
            self._event.record(self._stream)

    @property
    def arrived(self) -> bool:
        """Whether a copy has arrived and was not fetched."""
        return self._under_way and (self._event is None or self._event.query())

    def fetch(self, *, wait: bool = False) -> RecordedTrajectory | None:
        """Return the whole episode that ended last, as of the last ``request``.

        None if the copy has not arrived, unless ``wait``, or there has been no whole episode.
        """
        if not (self._under_way if wait else self.arrived):
            return None
        if self._event is not None:
            self._event.synchronize()
        self._under_way = False
        ring, count = self._host[0].numpy(), int(self._host[1])
        if count > len(ring):
            ring = np.roll(ring, -count, axis=0)  # the oldest step first
        fields = np.split(ring[:count].astype(np.float64), self._splits, axis=2)
        flags = dict(zip(_FLAGS, np.moveaxis(fields[4], 2, 0) > 0, strict=True))
        found = last_complete_episode(flags["start"], flags["whole"])
        if found is None:
            return None
        env, first, last = found
        before, after, action, reward, _, outcome = (
            field[first : last + 1, env] for field in fields
        )
        shape, dtype = self._action
        return RecordedTrajectory(
            env=self.indices[env],
            fps=self._fps,
            states=self._named(np.concatenate([before, after[-1:]])),
            actions=action.reshape(-1, *shape).astype(dtype),
            rewards=reward[:, 0],
            terminated=bool(flags["terminated"][last, env]),
            truncated=bool(flags["truncated"][last, env]),
            outcome=dict(zip(self._outcomes, (outcome[-1] > 0).tolist(), strict=True)),
        )

    def _named(self, states: np.ndarray) -> dict[str, np.ndarray]:
        """Return flat states, shape (T + 1, drawn), by name."""
        borders = np.cumsum([_size(shape) for shape in self._shapes.values()])[:-1]
        parts = np.split(states, borders, axis=1)
        return {
            name: part.reshape(len(part), *shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }


def last_complete_episode(start: np.ndarray, whole: np.ndarray) -> tuple[int, int, int] | None:
    """Return environment, first and last step of the whole episode that ended last, if any.

    Of episodes that ended together it is that of the first environment.

    Args:
        start: The step was the first of an episode. Shape (T, W), bool.
        whole: A whole episode ended with the step. Shape (T, W), bool.
    """
    latest = None
    for env in range(start.shape[1]):
        ends = np.flatnonzero(whole[:, env])
        begins = np.flatnonzero(start[: ends[-1] + 1, env]) if len(ends) else ends
        if len(begins) and (latest is None or ends[-1] > latest[2]):
            latest = env, int(begins[-1]), int(ends[-1])
    return latest


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape))


def _copy(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source, non_blocking=True)
