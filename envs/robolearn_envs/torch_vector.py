"""N copies of a task on a torch device: nothing of a step is seen, or waited for, by the host."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from robolearn_envs.actions import Actions
from robolearn_envs.engines import DEVICE_ENGINES, ENGINES, make_device_engine
from robolearn_envs.names import pick
from robolearn_envs.rendering.situation import DRAWN
from robolearn_envs.streams import uniform
from robolearn_envs.tasks import action_kind, make_task
from robolearn_envs.tasks.base import ActionKind, Memory, Noise

Observation: TypeAlias = Any
"""A tensor of shape (N, ...), or a dict of them."""
_EVERYONE = slice(None)
_OWN = ("keys", "episodes", "elapsed", "limit", "done", "won", "strength", "factors")
"""Attributes of environments, shape (N, ...), in a snapshot."""


class Transition(NamedTuple):
    """What a step leads to; every array is a tensor with a row for each environment."""

    obs: Observation
    """What is acted on next. Shape (N, ...), float32."""
    reward: Tensor
    """Shape (N,), float32."""
    terminated: Tensor
    """Shape (N,), bool."""
    truncated: Tensor
    """Shape (N,), bool."""
    reached: Observation
    """What the step reached, before any reset. Shape (N, ...)."""
    outcome: Mapping[str, Tensor]
    """What the task tells of episodes, true where one ends now. Shapes (N,)."""
    broken: Tensor
    """The simulation broke down: the episode is truncated without a reward. Shape (N,), bool."""
    seen: tuple[Tensor, ...] = ()
    """What there was to draw of watched environments before the step, and of what the step reached
    before any reset; see ``TorchVectorEnv.watch``. Two of shape (W, figures)."""


class TorchVectorEnv(VectorEnv[Any, Any, Any]):
    """The environments of ``RoboVectorEnv``, on tensors.

    Same tasks, streams and rules: env i has the episodes there of the single env seeded
    ``seed + i``, whatever the batch it is in. Where the host would look which episodes have
    ended, here all begin a new one and it is kept where that is so; so a step has one shape,
    never waits for its device, and can be captured in a CUDA graph. Observations, rewards and flags
    are tensors; state is kept in the same storage for ever.

    Discrete actions beyond those there are count as the last, as continuous ones beyond +-1 do.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        task: str,
        num_envs: int = 1,
        *,
        engine: str = "torch",
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        fuse: bool = False,
        action: ActionKind | None = None,
        randomize: float = 0.0,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **task_options: Any,
    ) -> None:
        """Build the environments.

        Args:
            task: One of ``robolearn_envs.tasks.TASKS``.
            num_envs: N.
            engine: 'torch', the closed form, or 'warp', MuJoCo Warp.
            device: A torch device.
            dtype: Of the closed form's state; rewards and observations are float32.
            fuse: Compile the step into few kernels by ``torch.compile``: the first one takes
                half a minute. Closed form only; numbers may differ in the last places.
            action: 'continuous' or 'discrete'; None for the task's default.
            randomize: As of ``RoboVectorEnv``.
            autoreset_mode: What happens after an episode's end, as Gymnasium defines it. Under
                DISABLED an ended environment goes on, without rewards, until it is reset.
            **task_options: What the task takes.

        Raises:
            ValueError: An unknown name, or a combination that cannot be.
            ImportError: The engine is not installed.
        """
        self.task = make_task(task, task_options)
        pick("engine", engine, {**ENGINES, **DEVICE_ENGINES})
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}.")
        number = isinstance(randomize, int | float | np.floating)
        if not number or not 0.0 <= randomize < 1.0:
            raise ValueError(f"randomize must lie in [0, 1), got {randomize!r}.")
        if fuse and engine != "torch":
            raise ValueError(f"Only engine='torch' can be fused, got engine='{engine}'.")
        self.engine_name, self.num_envs = engine, num_envs
        self.device = torch.device(device)
        if engine not in self.task.device_engines:
            there = " and ".join(self.task.device_engines) or "none"
            raise ValueError(f"{task} does not run on engine '{engine}'; on a device: {there}.")
        self._engine = make_device_engine(
            engine, self.task.robot, self.task.timestep, num_envs, device=self.device, dtype=dtype
        )
        self.task.to(self.device)
        self._randomize = randomize
        self._mode = AutoresetMode(autoreset_mode)
        self.render_mode = None
        fps = round(1 / (self.task.timestep * self.task.substeps))
        self.metadata = {
            **type(self).metadata,
            "render_fps": fps,
            "autoreset_mode": self._mode,
        }
        kind = action_kind(self.task, action)
        self.single_observation_space = self.task.observation_space
        self.single_action_space = Actions(self.task, kind).space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        choices = torch.tensor(self.task.choices, dtype=dtype, device=self.device)
        self._choices = choices if kind == "discrete" else None
        self._bounds = _bounds(self.single_observation_space, self.device)
        self._dtype = dtype
        zeros = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        self._keys, self._episodes, self._elapsed = zeros, zeros.clone(), zeros.clone()
        self._limit = zeros + self.task.max_steps  # steps at which episodes are truncated
        self._done = torch.ones(num_envs, dtype=torch.bool, device=self.device)
        self._won = torch.zeros_like(self._done)
        self._strength = torch.ones(num_envs, 1, dtype=dtype, device=self.device)
        fields = len(self.task.robot.randomized)
        self._factors = torch.ones(num_envs, fields, dtype=torch.float64, device=self.device)
        self._memory: dict[str, Tensor] = {}
        self._watched: slice | None = None
        self._seeded = False
        self.transition: Callable[[Tensor], Transition] = (
            torch.compile(self._transition, fullgraph=True, dynamic=False)
            if fuse
            else self._transition
        )
        """Advance every environment by one step, given actions of shape (N, ...)."""

    def reset(
        self,
        *,
        seed: int | list[int] | np.ndarray | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
        """Start new episodes in all environments, or in those of ``options["reset_mask"]``.

        Args:
            seed: Env i is seeded ``seed + i``, or ``seed[i]``; None goes on with each env's
                stream (or, the first time, seeds from the operating system).
            options: ``"reset_mask"``, bool of shape (N,), resets only some.

        Returns:
            Observations of all environments, shape (N, ...), and an empty info.

        Raises:
            ValueError: Seeds or mask of another shape, or an option the task cannot grant.
        """
        wishes = {key: wish for key, wish in (options or {}).items() if key != "reset_mask"}
        for wish in wishes:
            raise ValueError(f"On a device a reset has no option '{wish}'; use engine='analytic'.")
        chosen = self._chosen(options)
        before = seed is None and self._seeded
        if before:
            self._episodes += chosen
        else:
            begun = self._seeded
            self._seed(seed, chosen)
            chosen = chosen if begun else torch.ones_like(chosen)
        with torch.no_grad():
            self._start(chosen, before)
            return self._observe(), {}

    def _chosen(self, options: dict[str, Any] | None) -> Tensor:
        if not options or "reset_mask" not in options:
            return torch.ones_like(self._done)
        mask = torch.as_tensor(options["reset_mask"], device=self.device)
        if mask.shape != (self.num_envs,) or mask.dtype != torch.bool:
            raise ValueError(
                f"options['reset_mask'] must be bool of shape ({self.num_envs},), got "
                f"{mask.dtype} of shape {tuple(mask.shape)}."
            )
        return mask

    def _seed(self, seed: int | list[int] | np.ndarray | None, chosen: Tensor) -> None:
        if seed is None:
            keys = self.np_random.integers(2**63, size=self.num_envs)
        elif isinstance(seed, int | np.integer):
            seed = int(seed)
            super().reset(seed=seed)
            if seed + self.num_envs >= 2**63:
                raise ValueError(f"seed must be below 2^63 - num_envs, got {seed}.")
            keys = seed + np.arange(self.num_envs)
        else:
            keys = np.asarray(seed, dtype=np.int64)
            if keys.shape != (self.num_envs,):
                raise ValueError(f"seed must list {self.num_envs} seeds, got {keys.shape}.")
        named = chosen if self._seeded else torch.ones_like(chosen)  # none is left without one
        new = torch.from_numpy(keys).to(self.device)
        self._keys.copy_(torch.where(named, new, self._keys))
        self._episodes *= ~chosen
        self._seeded = True

    def cut(self, lengths: Tensor) -> None:
        """Truncate the running episodes when they have these lengths. Shape (N,), int64, steps."""
        self._limit.copy_(lengths)

    @property
    def limit(self) -> Tensor:
        """Steps at which the running episodes are truncated; live, do not write. Shape (N,)."""
        return self._limit

    def _start(self, chosen: Tensor, before: bool) -> None:
        """Begin the current episode of the chosen environments, shape (N,), bool.

        Args:
            chosen: Which.
            before: Let what was carried over from the last episodes matter.
        """
        count, fields = self.task.start_draws, self.task.robot.randomized
        extra = 1 + len(fields) if self._randomize else 0
        draws = uniform(self._keys, self._episodes, count + extra)  # float64
        carried = {name: self._memory[name] for name in self.task.carried} if before else {}
        last = {**carried, "success": self._won} if before else None
        start = self.task.start(draws[:, :count], last, {})
        factors = None
        if self._randomize:
            spread = 1 + self._randomize * (2 * draws[:, count:] - 1)
            factors = {name: spread[:, 1 + k] for k, name in enumerate(fields)}
            _put(self._strength, chosen, spread[:, :1])
            _put(self._factors, chosen, spread[:, 1:])
        self._engine.replace(chosen, start.qpos, start.qvel, factors)
        for name, rows in start.memory.items():
            if name not in self._memory:
                dtype = self._dtype if rows.is_floating_point() else rows.dtype
                self._memory[name] = rows.to(dtype, copy=True).contiguous()
            _put(self._memory[name], chosen, rows)
        self.task.furnish(self._engine, _EVERYONE, self._memory)
        for counter, begun in ((self._elapsed, 0), (self._limit, self.task.max_steps)):
            counter.copy_(torch.where(chosen, begun, counter))
        self._done &= ~chosen
        self._won &= ~chosen

    def _observe(self) -> Observation:
        """Return new observations of all environments, float32, within their space."""
        engine = self._engine
        observation = self.task.observe(engine, _EVERYONE, engine.qpos, engine.qvel, self._memory)
        if self._randomize and self.task.sensor_draws:
            draws = uniform(
                self._keys, self._episodes, self.task.sensor_draws, self._elapsed + 1
            ).to(self._dtype)
            noise = Noise(self._randomize, draws)
            observation, changed = self.task.disturb(observation, self._memory, noise)
            self._write(changed)
        return _within(observation, self._bounds)

    def _write(self, changed: Memory) -> None:
        for name, rows in changed.items():
            self._memory[name].copy_(rows)

    def step(self, actions: Any) -> tuple[Observation, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Advance every environment by one step.

        Args:
            actions: A tensor, or what can become one, shape (N, commands) in [-1, 1], or (N,)
                integer.

        Returns:
            Tensors: observations (N, ...), rewards (N,), terminated (N,), truncated (N,); and info
            as of ``RoboVectorEnv``, but that every key is always there: where no episode has
            ended, its numbers are 0 and its mask is False.

        Raises:
            ValueError: Actions of another shape or type.
        """
        actions = torch.as_tensor(actions, device=self.device)
        shape = (self.num_envs, *(self.single_action_space.shape or ()))
        if actions.shape != shape:
            raise ValueError(f"Actions must have shape {shape}, got {tuple(actions.shape)}.")
        whole = not (actions.is_floating_point() or actions.dtype == torch.bool)
        if self._choices is not None and not whole:
            raise ValueError(f"Discrete actions must be integers, got {actions.dtype}.")
        if not self._seeded:
            raise gym.error.ResetNeeded("No environment has a running episode: call reset() first.")
        ended = self._done.clone()
        with torch.no_grad():
            moved = self.transition(actions)
        done = (moved.terminated | moved.truncated) & ~ended
        outcome: dict[str, Any] = {}
        for name, figure in moved.outcome.items():
            outcome[name] = torch.where(done, figure, torch.zeros_like(figure))
            outcome[f"_{name}"] = done
        info = outcome | {"lost": moved.broken, "_lost": moved.broken}
        if self._mode is AutoresetMode.SAME_STEP:
            info = {
                "final_obs": _chosen_rows(done, moved.reached),
                "_final_obs": done,
                "final_info": outcome,
                "_final_info": done,
                "lost": moved.broken,
                "_lost": moved.broken,
            }
        return moved.obs, moved.reward, moved.terminated, moved.truncated, info

    def _transition(self, actions: Tensor) -> Transition:
        command = self._command(actions)
        seen = self._watched_rows()
        ended = self._done.clone()
        self._move(command)
        engine, memory = self._engine, self._memory
        broken = engine.broken & ~ended
        self._elapsed += 1
        going = ~(ended | broken)
        reward = self.task.reward(engine.qpos, engine.qvel, command, memory)
        reward = torch.where(going, reward, 0.0).to(torch.float32)
        terminated = self.task.terminated(engine.qpos, engine.qvel, memory) & going
        truncated = (self._elapsed >= self._limit) & going | broken
        if self._mode is AutoresetMode.NEXT_STEP:
            self._restart(ended)
        elif self._mode is AutoresetMode.DISABLED:
            truncated = truncated | ended
        done = terminated | truncated
        outcome = {k: v.clone() for k, v in self.task.outcome(memory, terminated).items()}
        self._won.copy_(torch.where(done & ~ended, outcome["success"], self._won))
        self._done.copy_(done)
        obs = reached = self._observe()
        seen += self._watched_rows()
        if self._mode is AutoresetMode.SAME_STEP:
            self._restart(done)
            obs = _merged(done, self._observe(), reached)
        return Transition(obs, reward, terminated, truncated, reached, outcome, broken, seen)

    def _command(self, actions: Tensor) -> Tensor:
        """Return what actions ask for, in [-1, 1]. Shape (N, commands)."""
        if self._choices is None:
            return actions.to(self._dtype).clamp(-1.0, 1.0)
        return self._choices[actions.to(torch.int64).clamp(0, len(self._choices) - 1)]

    def _move(self, command: Tensor) -> None:
        drive = command * self._strength if self._randomize else command
        engine, task = self._engine, self.task
        for _ in range(task.substeps):
            engine.step(task.force(engine.qpos, engine.qvel, drive))
        self._write(task.advance(engine, engine.qpos, engine.qvel, self._memory))

    def _restart(self, chosen: Tensor) -> None:
        self._episodes += chosen
        self._start(chosen, before=True)

    def snapshot(self) -> dict[str, np.ndarray]:
        """Return what ``restore`` needs to go on exactly from here."""
        own = {name: getattr(self, f"_{name}") for name in _OWN}
        memory = {f"memory/{name}": rows for name, rows in self._memory.items()}
        engine = {f"engine/{name}": part for name, part in self._engine.snapshot().items()}
        return {name: part.cpu().numpy().copy() for name, part in (own | memory | engine).items()}

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Go back to a snapshot of environments made like these.

        Raises:
            ValueError: It is one of others.
        """
        if not self._seeded:
            self.reset(seed=0)  # so that there is something to write into
        expected = self.snapshot()
        if {name: part.shape for name, part in snapshot.items()} != {
            name: part.shape for name, part in expected.items()
        }:
            raise ValueError(f"This is no snapshot of {type(self.task).__name__}.")
        parts = {name: torch.from_numpy(part).to(self.device) for name, part in snapshot.items()}
        for name in _OWN:
            getattr(self, f"_{name}").copy_(parts[name])
        for name, rows in self._memory.items():
            rows.copy_(parts[f"memory/{name}"])
        engine, everyone = self._engine, torch.ones_like(self._done)
        names = self.task.robot.randomized
        factors = {name: self._factors[:, k] for k, name in enumerate(names)}
        engine.replace(everyone, engine.qpos, engine.qvel, factors if self._randomize else None)
        self.task.furnish(engine, _EVERYONE, self._memory)
        theirs = {k.removeprefix("engine/"): v for k, v in parts.items() if k.startswith("engine/")}
        engine.restore(theirs)

    def state(self) -> tuple[Tensor, Tensor]:
        """Return copies of all positions and velocities, shapes (N, positions), (N, velocities)."""
        return self._engine.qpos.clone(), self._engine.qvel.clone()

    def pictured(self) -> dict[str, Tensor]:
        """Return all that ``RoboVectorEnv.show`` draws, by name; live, shapes (N, ...)."""
        memory = {name: self._memory[name] for name in DRAWN if name in self._memory}
        return {"qpos": self._engine.qpos, "qvel": self._engine.qvel, **memory}

    def watch(self, rows: slice | None) -> None:
        """Let transitions tell what there is to draw of some environments; None for nothing.

        It is what ``pictured`` returns of them, flat and side by side: ``Transition.seen``.
        """
        self._watched = rows

    def _watched_rows(self) -> tuple[Tensor, ...]:
        """Return what there is to draw of watched environments now; nothing where none is."""
        if self._watched is None:
            return ()
        parts = [rows[self._watched].flatten(1) for rows in self.pictured().values()]
        return (torch.cat(parts, dim=1),)

    @property
    def memory(self) -> Memory:
        """What the task remembers of each episode; live, do not write. Shapes (N, ...)."""
        return self._memory

    def close_extras(self) -> None:
        """Release the engine."""
        self._engine.close()


def _put(target: Tensor, chosen: Tensor, rows: Tensor) -> None:
    """Write the chosen rows, in place. Shapes (N, ...), (N,), (N, ...)."""
    where = chosen.view(-1, *([1] * (target.ndim - 1)))
    target.copy_(torch.where(where, rows.to(target.dtype), target))


def _bounds(space: gym.Space, device: torch.device) -> Any:
    """Return the least and greatest observation, or a dict of such pairs."""
    if isinstance(space, gym.spaces.Dict):
        return {name: _bounds(part, device) for name, part in space.items()}
    assert isinstance(space, gym.spaces.Box)
    return torch.from_numpy(space.low).to(device), torch.from_numpy(space.high).to(device)


def _within(observation: Any, bounds: Any) -> Observation:
    """Return observations as float32, within their bounds."""
    if isinstance(bounds, dict):
        return {name: _within(observation[name], pair) for name, pair in bounds.items()}
    return observation.to(torch.float32).clamp(*bounds)


def _merged(chosen: Tensor, first: Observation, second: Observation) -> Observation:
    """Return ``first`` where chosen, else ``second``."""
    if isinstance(first, dict):
        return {name: _merged(chosen, part, second[name]) for name, part in first.items()}
    return torch.where(chosen.view(-1, *([1] * (first.ndim - 1))), first, second)


def _chosen_rows(chosen: Tensor, observation: Observation) -> Observation:
    """Return observations where chosen, else zeros."""
    if isinstance(observation, dict):
        return {name: _chosen_rows(chosen, part) for name, part in observation.items()}
    return _merged(chosen, observation, torch.zeros_like(observation))
