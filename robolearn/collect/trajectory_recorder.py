"""Watching a few environments on a device: what they do is kept there until somebody asks."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robolearn_envs.torch_vector import TorchVectorEnv, Transition

ENV_STRIDE = 1000
"""Of so many environments one is watched."""
MAX_ENVS = 8
"""Environments watched, at most."""
_FLAGS = ("start", "terminated", "truncated", "whole")
_OUTCOMES = ("success", "collision")


class RecordedTrajectory(NamedTuple):
    """One episode of T steps, on the host."""

    env: int
    """Which environment."""
    fps: float
    """Steps per second of simulated time."""
    states: Mapping[str, np.ndarray]
    """What ``RoboVectorEnv.show`` draws, by name, from the first state to the one that the last
    step reached. Shapes (T + 1, ...), float64."""
    actions: np.ndarray
    """As the environment takes them. Shape (T, ...)."""
    rewards: np.ndarray
    """Shape (T,), float64."""
    terminated: bool
    """The last step entered an absorbing state."""
    truncated: bool
    """The last step came to the time limit."""
    outcome: Mapping[str, bool]
    """Outcome of the episode by the task: ``success``, ``collision``."""


class TrajectoryRecorder:
    """Notes what environments 0, 1000, 2000, ... do, in a ring of rows on their device.

    The ring holds as many steps as two of the longest episodes, so that a whole one is always in
    it, once the first is over. To note a step is a handful of small kernels that can be captured,
    and what was noted comes to the host while the device goes on computing.
    """

    def __init__(
        self, envs: TorchVectorEnv, *, every: int = ENV_STRIDE, most: int = MAX_ENVS
    ) -> None:
        """TrajectoryRecorder environments that have been reset, from their next step on.

        Args:
            envs: What to watch, in mode SAME_STEP. Their steps tell more from now on: none of them
                may have been captured yet.
            every: Of so many one is watched, from env 0 on.
            most: How many are watched, at most.

        Raises:
            ValueError: ``every`` or ``most`` is less than 1.
        """
        if min(every, most) < 1:
            raise ValueError(f"every and most must be at least 1, got {every} and {most}.")
        self._rows = slice(0, every * most, every)
        self.indices = tuple(range(envs.num_envs)[self._rows])
        """Which environments are watched, W of them."""
        envs.watch(self._rows)
        drawn, space = envs.pictured(), envs.single_action_space
        self._shapes = {name: tuple(rows.shape[1:]) for name, rows in drawn.items()}
        self._action = space.shape or (), space.dtype
        outcome = envs.task.outcome(envs.memory, torch.zeros_like(envs.limit, dtype=torch.bool))
        self._outcomes = tuple(name for name in _OUTCOMES if name in outcome)
        self._fps = float(envs.metadata["render_fps"])
        state = sum(map(_size, self._shapes.values()))
        widths = [state, state, _size(self._action[0]), 1, len(_FLAGS), len(self._outcomes)]
        self._splits = np.cumsum(widths)[:-1]
        shape = 2 * envs.task.max_steps, len(self.indices), sum(widths)
        self._ring = drawn["qpos"].new_zeros(shape)
        self._count = torch.zeros(1, dtype=torch.int64, device=envs.device)  # steps noted
        self._copies = _AsyncHostCopy([self._ring, self._count])

    def record(self, starts: Tensor, action: Tensor, moved: Transition, whole: Tensor) -> None:
        """Note a step just made, without looking at it.

        Args:
            starts: It was the first one of an episode. Shape (N,), bool.
            action: As the environments take it. Shape (N, ...).
            moved: What it led to.
            whole: An episode ended that neither was cut short nor broke down. Shape (N,), bool.
        """
        flags = [starts, moved.terminated, moved.truncated, whole]
        flags += [moved.outcome[name] for name in self._outcomes]
        columns = [each[self._rows] for each in (action, moved.reward, *flags)]
        flat = [each.reshape(len(each), -1).to(self._ring.dtype) for each in columns]
        row = torch.cat([*moved.seen, *flat], dim=1)
        self._ring.index_copy_(0, self._count % len(self._ring), row[None])
        self._count += 1

    def request(self) -> None:
        """Begin to bring what has been noted to the host, unless that is under way already."""
        self._copies.begin()

    @property
    def arrived(self) -> bool:
        """Whether what was asked for is there and has not been collected."""
        return self._copies.arrived

    def fetch(self, *, wait: bool = False) -> RecordedTrajectory | None:
        """Return the whole episode that ended last, as of when it was asked for.

        Args:
            wait: Until what was asked for is there.

        Returns:
            None where that is not there yet, or no watched environment has lived through a whole
            episode so far.
        """
        brought = self._copies.take(wait=wait)
        if brought is None:
            return None
        ring, count = brought[0], int(brought[1][0])
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


class _AsyncHostCopy:
    """Brings tensors, as they are at one moment, to the host while their device goes on."""

    def __init__(self, sources: Sequence[Tensor]) -> None:
        """Make room for copies of ``sources``, which stay where they are for ever."""
        self._sources, self._under_way = sources, False
        cuda = sources[0].is_cuda
        self._host = [torch.empty_like(each, device="cpu", pin_memory=cuda) for each in sources]
        self._stream = torch.cuda.Stream(sources[0].device) if cuda else None
        self._still = [torch.empty_like(each) for each in sources if cuda]
        self._event = torch.cuda.Event() if cuda else None

    def begin(self) -> None:
        """Copy what is in the sources now, unless a copy has not been taken yet."""
        if self._under_way:
            return
        self._under_way = True
        if self._stream is None or self._event is None:
            _copy(self._sources, self._host)
            return
        _copy(self._sources, self._still)  # in line with what writes into the sources
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            _copy(self._still, self._host)
            self._event.record(self._stream)

    @property
    def arrived(self) -> bool:
        """Whether a copy is there to be taken."""
        return self._under_way and (self._event is None or self._event.query())

    def take(self, *, wait: bool) -> list[np.ndarray] | None:
        """Return a copy that has arrived, good until the next begins; None where there is none."""
        if wait and self._under_way and self._event is not None:
            self._event.synchronize()
        if not self.arrived:
            return None
        self._under_way = False
        return [each.numpy() for each in self._host]


def last_complete_episode(start: np.ndarray, whole: np.ndarray) -> tuple[int, int, int] | None:
    """Return environment, first and last step of the whole episode that ended last.

    Args:
        start: The step was the first of an episode; every episode has one, if it is not forgotten.
            Shape (T, W), bool.
        whole: An episode that counts ended with the step. Shape (T, W), bool.

    Returns:
        None where there is none; the first environment of those whose episodes ended together.
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
