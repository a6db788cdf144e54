"""Replay buffer of N environments, with n-step returns computed when it is read."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from robolearn.buffers.rollout_buffer import Step, Transition
from robolearn.files import require_shape


class ReplayBatch(NamedTuple):
    """Transitions of up to n steps each; their shape (...) is that of the indices read."""

    obs: Tensor
    """Shape (..., D)."""
    action: Tensor
    """Shape (...), int64."""
    reward: Tensor
    """Discounted sum of the rewards of the steps spanned. Shape (...)."""
    next_obs: Tensor
    """Observation the last step spanned reached, before any reset. Shape (..., D)."""
    discount: Tensor
    """gamma to the number of steps spanned; 0 where the last one terminated. Shape (...)."""
    weight: Tensor
    """0 where the first step is not valid, else 1. Shape (...)."""


_FIELDS = ("obs", "action", "reward", "terminated", "done", "valid")
"""Stored of each step, beside its final observation."""


class ReplayBuffer:
    """Ring of the latest steps of N environments, and S demonstrated steps never overwritten.

    A step of environment i lies at index ``row * num_envs + i`` and the step after it ``num_envs``
    further on. Demonstrated step k lies at ``capacity + k``.

    Each observation is stored once, as that of a step and as what the step before it reached. Where
    these differ, as at the end of an episode, a table holds the final observation. For the newest
    row the observations reached are stored as well.
    """

    def __init__(
        self,
        capacity: int,
        num_envs: int,
        width: int,
        device: torch.device,
        *,
        num_demos: int = 0,
        dtype: torch.dtype = torch.float32,
        fixed: bool = False,
    ) -> None:
        """Create an empty buffer; memory is allocated with the first step.

        Args:
            capacity: Environment steps; rounded down to whole rows of ``num_envs``.
            num_envs: N.
            width: Width D of an observation.
            device: Of the buffer.
            num_demos: S.
            dtype: Of stored observations, such as uint8 for images; they are read as float32.
            fixed: Allocate a final observation for each step, so that ``add`` does not wait for the
                device. Else their table grows as needed.
        """
        self._rows = max(capacity // num_envs, 1)
        self.capacity = self._rows * num_envs
        """Environment steps in a full buffer, without demonstrations."""
        self._num_envs, self._width, self._device = num_envs, width, device
        self._dtype, self._fixed = dtype, fixed
        self._demo_slots, self.num_demos = num_demos, 0
        self._size = self.capacity + num_demos
        self.num_final_slots = 0
        """Size of the table of final observations, whose storage moves when it grows."""
        self.num_collected = 0
        """Environment steps stored, without demonstrations."""
        self._num_added = 0  # rows ever written
        self._newest = torch.full((), -1, dtype=torch.int64, device=device)  # the last of them

    def _allocate(self) -> None:
        size, device = self._size, self._device
        obs = torch.empty(size + self._num_envs, self._width, dtype=self._dtype, device=device)
        self._obs, self._latest_obs = obs, obs[size:]  # what the newest row reached. Shape (N, D)
        self._action = torch.empty(size, dtype=torch.int64, device=device)
        self._reward = torch.empty(size, device=device)
        self._terminated = torch.empty(size, dtype=torch.bool, device=device)
        self._done = torch.empty(size, dtype=torch.bool, device=device)
        self._valid = torch.empty(size, device=device)
        self._expert_action = torch.zeros(self._demo_slots, dtype=torch.int64, device=device)
        self._final_slot = torch.full((size,), -1, dtype=torch.int64, device=device)
        slots = size if self._fixed else max(self._num_envs, size // 64)
        self._final_obs = torch.empty(slots, self._width, dtype=self._dtype, device=device)
        self._free_slots = torch.arange(slots, device=device)
        self.num_final_slots = slots

    def __len__(self) -> int:
        """Return how many steps are stored, with demonstrations."""
        return self.num_collected + self.num_demos

    def add(self, steps: Transition, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Store T steps of all environments, or the newest of them if T exceeds the rows.

        Args:
            steps: In order. Fields (T, N, ...).
            actions: Shape (T, N), int64.

        Returns:
            Indices of those stored; and 0 where they are not valid, else 1. Shape (T * N,).
        """
        if not self.num_final_slots:
            self._allocate()
        fields = {"action": actions, **steps._asdict()}
        if steps.valid is None:
            fields["valid"] = torch.ones_like(steps.done)
        fields = {name: each[-self._rows :] for name, each in fields.items()}
        length, device = len(fields["action"]), self._device
        row = (self._num_added + torch.arange(-1, length, device=device)) % self._rows
        places = row[:, None] * self._num_envs + torch.arange(self._num_envs, device=device)
        before, index = places[:-1], places[1:]  # (T, N)
        obs, next_obs = (fields.pop(name).to(self._dtype) for name in ("obs", "next_obs"))
        reached = torch.cat([self._latest_obs[None], next_obs[:-1]])  # by the step before each
        ended = (reached != obs).any(dim=-1)
        if not self._num_added or length == self._rows:  # then there is no step before the first
            ended[0].fill_(False)
        self._store(index, obs, **fields)
        self._store_final(before, reached, ended)
        self._latest_obs.copy_(next_obs[-1])
        self._num_added += length
        self.num_collected = min(self._num_added, self._rows) * self._num_envs
        self._newest.fill_(self._num_added - 1)
        index = index.flatten()
        return index, self._valid[index]

    def add_demonstrations(self, steps: Step, action: Tensor, expert_action: Tensor) -> Tensor:
        """Store the S demonstrated steps, in order, and return their indices. Shape (S,).

        ``action`` are executed actions, ``expert_action`` those of the expert. Shapes (S,), int64.

        Raises:
            ValueError: Not S steps.
        """
        if len(action) != self._demo_slots:
            raise ValueError(f"there is room for {self._demo_slots} steps, got {len(action)}")
        if not self.num_final_slots:
            self._allocate()
        index = self.capacity + torch.arange(len(action), device=self._device)
        fields = {k: torch.from_numpy(v).to(self._device) for k, v in steps._asdict().items()}
        obs, next_obs = (fields.pop(name).to(self._dtype) for name in ("obs", "next_obs"))
        ended = (next_obs != obs.roll(-1, 0)).any(dim=-1)
        ended[-1:] = True
        self._store(index, obs, action=action, **fields)
        self._store_final(index, next_obs, ended)
        self._expert_action.copy_(expert_action)
        self.num_demos = self._demo_slots
        return index

    def _store(self, index: Tensor, obs: Tensor, **fields: Tensor) -> None:
        """Write steps over what lies at ``index``, whose final observations are released."""
        self._obs[index] = obs
        for name, values in fields.items():
            stored: Tensor = getattr(self, f"_{name}")
            stored[index] = values.to(stored)
        if not self._fixed:
            slot = self._final_slot[index]
            self._free_slots = torch.cat([self._free_slots, slot[slot >= 0]])
        self._final_slot.index_fill_(0, index.flatten(), -1)

    def _store_final(self, index: Tensor, reached: Tensor, ended: Tensor) -> None:
        """Store the observations that steps reached, (..., D), where ``ended``, (...), is true."""
        if self._fixed:  # each step has a slot
            self._final_obs[index] = reached
            self._final_slot[index] = torch.where(ended, index, -1)
            return
        index, reached = index[ended], reached[ended]
        slots = self.num_final_slots
        if len(index) > len(self._free_slots):
            more = max(slots, len(index))
            self.num_final_slots += more
            self._final_obs = torch.cat(
                [self._final_obs, self._final_obs.new_empty(more, self._width)]
            )
            new = torch.arange(slots, slots + more, device=self._device)
            self._free_slots = torch.cat([self._free_slots, new])
        slot, self._free_slots = self._free_slots.tensor_split([len(index)])
        self._final_obs[slot] = reached
        self._final_slot[index] = slot

    def is_demo(self, index: Tensor) -> Tensor:
        """Return which steps are demonstrated. Shape as ``index``, bool."""
        return index >= self.capacity

    def expert_actions(self, index: Tensor) -> Tensor:
        """Return the expert's actions; anything for other steps. Shape as ``index``, int64."""
        return self._expert_action[(index - self.capacity).clamp_min(0)]

    def demo_reward_scale(self) -> float:
        """Return the mean magnitude of demonstrated rewards."""
        return self._reward[self.capacity :].abs().mean().item()

    def sample_indices(self, *shape: int, rng: torch.Generator) -> Tensor:
        """Return indices of stored steps, drawn uniformly. int64."""
        stored = self.num_collected + self.num_demos
        index = torch.randint(stored, shape, generator=rng, device=self._device)
        if not self.num_demos:
            return index
        collected = self.num_collected
        return torch.where(index < collected, index, index - collected + self.capacity)

    def sample_mixed_indices(self, *shape: int, demo_ratio: float, rng: torch.Generator) -> Tensor:
        """Return indices of stored steps; ``demo_ratio`` of the last dimension are demonstrated.

        Both parts are drawn uniformly. While nothing else is stored, all are demonstrated.
        """
        *leading, size = shape
        demos = round(demo_ratio * size) if self._num_added else size
        shapes = (
            (self.num_demos, (*leading, demos)),
            (self.num_collected, (*leading, size - demos)),
        )
        demo, collected = (
            torch.randint(max(count, 1), part, generator=rng, device=self._device)
            for count, part in shapes
        )
        return torch.cat([demo + self.capacity, collected], dim=-1)

    def get(self, index: Tensor, n: int, gamma: float) -> ReplayBatch:
        """Return the transitions that begin at the stored steps ``index``, shape (...), int64.

        They span ``n`` steps, or fewer where their episode ends, before a step that is not valid,
        and after the newest stored step. ``gamma`` is the discount per step.
        """
        following = (self._newest - index // self._num_envs) % self._rows  # steps stored after
        if self.num_demos:
            following = torch.where(self.is_demo(index), self._size - 1 - index, following)
        reward, last, span = self._reward[index], index, torch.zeros_like(index)
        ends = self._done[index] | (self._final_slot[index] >= 0)
        discount = torch.full_like(reward, gamma)
        for k in range(1, n):
            step = self._later(index, k)
            goes_on = ~ends & (following >= k) & (self._valid[step] > 0)
            reward = reward + torch.where(goes_on, discount * self._reward[step], 0.0)
            discount = torch.where(goes_on, discount * gamma, discount)
            last, span = torch.where(goes_on, step, last), torch.where(goes_on, k, span)
            ends = ~goes_on | self._done[step] | (self._final_slot[step] >= 0)
        latest = self._size + last % self._num_envs
        reached = self._obs[torch.where(following > span, self._later(last, 1), latest)]
        slot = self._final_slot[last]
        final = self._final_obs[slot.clamp_min(0)]
        next_obs = torch.where((slot >= 0)[..., None], final, reached)
        return ReplayBatch(
            self._obs[index].to(torch.float32),
            self._action[index],
            reward,
            next_obs.to(torch.float32),
            discount * ~self._terminated[last],
            self._valid[index],
        )

    def _later(self, index: Tensor, k: int) -> Tensor:
        """Return the indices of the steps k after some. Shape as ``index``."""
        after = (index + k * self._num_envs) % self.capacity
        if not self.num_demos:
            return after
        return torch.where(self.is_demo(index), (index + k).clamp_max(self._size - 1), after)

    def state(self) -> dict[str, Tensor]:
        """Return all that is stored, by name."""
        state = {"num_added": torch.tensor(self._num_added)}
        for prefix, part in self._stored_slices().items():
            state |= {f"{prefix}{name}": getattr(self, f"_{name}")[part] for name in _FIELDS}
            slot = self._final_slot[part]
            state[f"{prefix}ended"] = slot >= 0
            state[f"{prefix}final_obs"] = self._final_obs[slot[slot >= 0]]
        if self._num_added:
            state["latest_obs"] = self._latest_obs
        if self.num_demos:
            state["expert_action"] = self._expert_action
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load what ``state`` returned.

        Raises:
            ValueError: It is of a buffer of another size.
        """
        self._num_added = int(state["num_added"])
        self.num_collected = min(self._num_added, self._rows) * self._num_envs
        self._newest.fill_(self._num_added - 1)
        if "expert_action" in state:
            require_shape("expert_action", state["expert_action"], (self._demo_slots,))
            self.num_demos = self._demo_slots
        for prefix, part in self._stored_slices().items():
            size = part.stop - part.start
            for name in (*_FIELDS, "ended"):
                width = (self._width,) if name == "obs" else ()
                require_shape(name, state[prefix + name], (size, *width))
            ended = state[f"{prefix}ended"].to(self._device)
            final = state[f"{prefix}final_obs"]
            require_shape("final_obs", final, (int(ended.sum()), self._width))
            if not self.num_final_slots:
                self._allocate()
            index = torch.arange(part.start, part.stop, device=self._device)
            fields = {name: state[prefix + name].to(self._device) for name in _FIELDS}
            self._store(index, fields.pop("obs").to(self._dtype), **fields)
            self._store_final(index[ended], final.to(self._obs), torch.ones_like(ended[ended]))
        if self._num_added:
            require_shape("latest_obs", state["latest_obs"], (self._num_envs, self._width))
            self._latest_obs.copy_(state["latest_obs"])
        if self.num_demos:
            self._expert_action.copy_(state["expert_action"])

    def _stored_slices(self) -> dict[str, slice]:
        """Return where collected and demonstrated steps lie, if any, by prefix of their names."""
        parts = {"": slice(0, self.num_collected)} if self._num_added else {}
        return parts | ({"demo.": slice(self.capacity, self._size)} if self.num_demos else {})
