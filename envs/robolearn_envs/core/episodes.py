"""Episodes of N environments: starts, randomization, rewards, ends, autoreset, state.

Written once for NumPy and torch; :mod:`robolearn_envs.core.backend` holds what differs.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode

from robolearn_envs.arrays import Array
from robolearn_envs.config import ACTION_DELAY, MOTOR
from robolearn_envs.core.backend import ALL, Backend, EnvIndex, space_bounds, tree_map
from robolearn_envs.core.rng import uniform
from robolearn_envs.core.setup import Setup
from robolearn_envs.core.sim import Sim
from robolearn_envs.engines.base import Engine
from robolearn_envs.maps.obstacles import pad_obstacles
from robolearn_envs.tasks.base import Observation, Task, TaskState

_FIELDS = ("rng_keys", "episode_index", "step_count", "episode_length", "needs_reset", "won")
"""Attributes of a snapshot besides the dictionaries. Shapes (N,)."""
_GROUPS = ("task_state", "parameters", "history", "sensor_state")
"""Dictionaries of a snapshot, each of arrays of shape (N, ...)."""


class StepResult(NamedTuple):
    """What a control step leads to; arrays have a row for each environment."""

    obs: Observation
    """What is acted on next. Shape (N, ...), float32."""
    reward: Array
    """Shape (N,)."""
    terminated: Array
    """Shape (N,), bool."""
    truncated: Array
    """Shape (N,), bool."""
    final_obs: Observation
    """What the step led to, before any reset. Shape (N, ...)."""
    metrics: Mapping[str, Array]
    """Of episodes, valid where one ends now; on the host empty where none does. Shapes (N,)."""
    diverged: Array
    """The simulation diverged: the episode is truncated without a reward. Shape (N,), bool."""
    reward_terms: Mapping[str, Array]
    """Weighted terms of the reward, by name, where the task has such. Shapes (N,)."""
    render_states: tuple[Array, ...] = ()
    """What there was to draw before the step and after it, before any reset; see
    ``TorchVectorEnv.record_render_states``. Two of shape (W, numbers)."""


class Episodes:
    """Runs the episodes of N environments on an engine.

    Env i has the episodes of the single environment with the same key, whatever the batch.
    """

    def __init__(
        self,
        setup: Setup,
        engine: Engine,
        num_envs: int,
        backend: Backend,
        mode: AutoresetMode,
        *,
        dtype: Any,
    ) -> None:
        """Prepare; nothing may be stepped before ``begin``.

        Args:
            setup: The task, and how its episodes vary.
            engine: The physics.
            num_envs: N.
            backend: Of the engine's arrays.
            mode: When ended episodes are followed by new ones.
            dtype: Of the task's state on a device; float64 on the host.
        """
        task, sampler = setup.task, setup.sampler
        self.task, self.engine, self.num_envs = task, engine, num_envs
        self._setup, self._backend, self._sampler, self._mode = setup, backend, sampler, mode
        self._dtype = dtype
        self._reward_weights, self._ctrl_limit = setup.reward_weights, setup.ctrl_limit
        self._bounds = space_bounds(task.observation_space, backend)
        self._sensor_draws = sum(3 * sensor.size for sensor in task.sensors)
        self._noisy = tuple(
            sensor
            for sensor in task.sensors
            if any(parameter.name in sampler.ranges for parameter in sensor.parameters)
        )
        for sensor in task.sensors:  # they keep it: no space can be made within a compiled step
            _ = sensor.size, sensor.bounds
        self._late = tuple(
            sensor for sensor in self._noisy if f"{sensor.name}_latency" in sampler.ranges
        )
        self._uses_history = any(sensor.uses_history for sensor in task.sensors)
        self._has_motor = MOTOR in sampler.ranges
        self._max_delay = int(sampler.ranges.get(ACTION_DELAY, (0, 0))[1])
        self._robot_fields = [n for n in task.robot.randomizable if n in sampler.ranges]
        counts = np.zeros(num_envs, dtype=np.int64)
        self.rng_keys, self.episode_index = backend.array(counts), backend.array(counts.copy())
        self.step_count = backend.array(counts.copy())
        self.episode_length = backend.array(counts + task.max_episode_steps)
        """Control steps at which the running episodes are truncated. Shape (N,)."""
        self.needs_reset = backend.array(np.ones(num_envs, dtype=np.bool_))
        self.won = backend.array(np.zeros(num_envs, dtype=np.bool_))  # the last episode
        self.task_state: dict[str, Array] = {}
        self.parameters: dict[str, Array] = {}
        """Of the running episodes, by name. Shapes (N,)."""
        self.history: dict[str, Array] = {}
        self.sensor_state: dict[str, Array] = {}
        self._sim: Sim | None = None
        self.on_diverged: Callable[[Array], None] | None = None
        """On the host called with the environments that diverged, before anything is reset."""
        self.on_begin: Callable[[EnvIndex], None] | None = None
        """Called after environments have begun an episode."""
        self.on_simulated: Callable[[], None] | None = None
        """Called after physics, before any reset."""

    def begin(
        self, rows: EnvIndex, *, carry_over: bool, options: Mapping[str, Any] | None = None
    ) -> None:
        """Begin the current episode of some environments.

        Args:
            rows: Which.
            carry_over: Let what the task carries over from the last episodes matter.
            options: Of the task.

        Raises:
            ValueError: An option that cannot be granted; nothing has changed.
        """
        backend, task = self._backend, self.task
        previous = None
        if carry_over:
            previous = {k: backend.take(self.task_state[k], rows) for k in task.carry_over}
            previous["success"] = backend.take(self.won, rows)
        keys = backend.take(self.rng_keys, rows)
        count = task.num_reset_draws
        draws = uniform(
            keys,
            backend.take(self.episode_index, rows),
            count + self._sampler.num_draws + len(self._late),
        )
        initial = task.begin(draws[:, :count], previous, options or {})
        parameters = self._sampler.sample(draws[:, count:])
        self._store(self.parameters, rows, parameters)
        # As they are kept, which is how ``set_state`` has them: on a device rounded to its type.
        scales = {n: backend.take(self.parameters[n], rows) for n in self._robot_fields} or None
        self.engine.reset(rows, initial.qpos, initial.qvel, scales)
        if self._store(self.task_state, rows, initial.state):
            task.set_obstacles(self.engine, ALL, self.task_state)  # as many for all as for some
        elif type(task).set_obstacles is not Task.set_obstacles:
            taken = {name: backend.take(part, rows) for name, part in self.task_state.items()}
            task.set_obstacles(self.engine, rows, taken)
        self._begin_sensors(rows, draws[:, count + self._sampler.num_draws :])
        backend.put(self.step_count, rows, 0)
        backend.put(self.episode_length, rows, task.max_episode_steps)
        backend.put(self.needs_reset, rows, False)
        backend.put(self.won, rows, False)
        if self.on_begin is not None:
            self.on_begin(rows)

    def _begin_sensors(self, rows: EnvIndex, draws: Array) -> None:
        """Forget what sensors and actuators kept of the last episodes."""
        if not (self._uses_history or self._late or self._max_delay):
            return
        backend, xp = self._backend, self._backend.xp
        zeros = xp.zeros_like(backend.take(self.engine.qpos, rows)[:, :1])
        if self._uses_history:
            positions = backend.take(self.engine.qpos, rows) + 0.0
            velocities = backend.take(self.engine.qvel, rows) + 0.0
            begun = {"initial_qpos": positions, "previous_qvel": velocities}
            self._store(self.history, rows, begun)
        kept = {}
        for k, sensor in enumerate(self._late):
            kept[f"{sensor.name}_latency_draw"] = draws[:, k]
            unread = xp.broadcast_to(zeros - 2.0, (zeros.shape[0], sensor.size))
            kept[f"{sensor.name}_reading"] = kept[f"{sensor.name}_previous"] = unread + 0.0
        if self._max_delay:
            shape = (zeros.shape[0], self._max_delay, self.task.num_ctrl)
            kept["ctrl"] = xp.broadcast_to(zeros[:, :, None], shape) + 0.0
        self._store(self.sensor_state, rows, kept)

    def _store(self, kept: dict[str, Array], rows: EnvIndex, values: TaskState) -> bool:
        """Write values of some environments.

        Returns:
            Whether there are more obstacles than there were until now.
        """
        backend, wider = self._backend, False
        for name, new in values.items():
            if name not in kept:  # who has not begun yet gets something sensible
                kept[name] = self._room(new)
            elif (had := kept[name].shape[1:]) != new.shape[1:]:
                if new.ndim != 3 or had[1:] != new.shape[2:]:
                    raise ValueError(
                        f"{type(self.task).__name__}.begin returned '{name}' of shape "
                        f"{tuple(new.shape)}, until now {(self.num_envs, *had)}."
                    )
                if had[0] < new.shape[1]:
                    kept[name], wider = pad_obstacles(kept[name], new.shape[1]), True
                else:
                    new = pad_obstacles(new, had[0])
            backend.put(kept[name], rows, new)
        return wider

    def _room(self, values: Array) -> Array:
        """Return storage for all environments, filled with the first row of ``values``."""
        if self._backend.on_host:
            return np.repeat(values[:1], self.num_envs, axis=0)
        dtype = self._dtype if values.is_floating_point() else values.dtype
        return values.to(dtype, copy=True).contiguous()

    def step(self, ctrl: Array) -> StepResult:
        """Advance every environment by one control step; its episode is over where it ends.

        Args:
            ctrl: In [-1, 1]. Shape (N, num_ctrl).
        """
        backend, xp, task = self._backend, self._backend.xp, self.task
        was_done = self.needs_reset if backend.on_host else self.needs_reset.clone()
        self._simulate(ctrl)
        self.step_count += 1
        sim = self.sim()
        diverged = self.engine.diverged & ~was_done
        if backend.on_host and self.on_diverged is not None and diverged.any():
            self.on_diverged(diverged)
        reward, terms = self._reward(sim, ctrl)
        terminated = task.terminated(sim, self.task_state)
        truncated = self.step_count >= self.episode_length
        halted = was_done | diverged
        if backend.any(halted):
            reward = xp.where(halted, 0.0, reward)
            terms = {name: xp.where(halted, 0.0, term) for name, term in terms.items()}
            terminated, truncated = terminated & ~halted, truncated & ~was_done | diverged
        if self._mode is AutoresetMode.DISABLED:
            truncated = truncated | was_done
        done = terminated | truncated
        metrics = self._metrics(sim, done & ~was_done, diverged) if backend.any(done) else {}
        if self._mode is AutoresetMode.NEXT_STEP and backend.any(was_done):
            self._restart(was_done)
        self.needs_reset = backend.assign(self.needs_reset, done)
        obs = final_obs = self.observe()
        if self._mode is AutoresetMode.SAME_STEP and backend.any(done):
            rows = backend.rows(done)
            self._restart(done)
            new_obs = self.observe(rows)
            obs = tree_map(lambda old, new: _replaced(backend, old, rows, new), obs, new_obs)
        return StepResult(obs, reward, terminated, truncated, final_obs, metrics, diverged, terms)

    def _simulate(self, ctrl: Array) -> None:
        engine, task, backend = self.engine, self.task, self._backend
        if self._ctrl_limit < 1.0:
            ctrl = backend.xp.clip(ctrl, -self._ctrl_limit, self._ctrl_limit)
        if self._max_delay:
            ctrl = self._delayed(ctrl)
        if self._has_motor:
            ctrl = ctrl * backend.xp.astype(self.parameters[MOTOR], ctrl.dtype)[:, None]
        if self._uses_history:
            self._update(self.history, {"previous_qvel": engine.qvel + 0.0})
        for sensor in self._late:
            previous = self.sensor_state[f"{sensor.name}_reading"] + 0.0
            self._update(self.sensor_state, {f"{sensor.name}_previous": previous})
        for _ in range(task.frame_skip):
            engine.step(task.actuate(engine.qpos, engine.qvel, ctrl, self.parameters))
        self._update(self.task_state, task.after_step(self.sim(), self.task_state))
        if self.on_simulated is not None:
            self.on_simulated()

    def _delayed(self, ctrl: Array) -> Array:
        """Return what was asked for some control steps ago, and keep what is asked for now."""
        xp, kept = self._backend.xp, self.sensor_state["ctrl"]
        queue = xp.concat([xp.astype(ctrl, kept.dtype)[:, None], kept], axis=1)
        late = self.parameters[ACTION_DELAY]
        chosen = queue[xp.arange(self.num_envs, dtype=xp.int64, device=late.device), late]
        self._update(self.sensor_state, {"ctrl": queue[:, :-1] + 0.0})
        return chosen

    def _update(self, kept: dict[str, Array], changed: Mapping[str, Array]) -> None:
        for name, values in changed.items():
            kept[name] = self._backend.assign(kept[name], values)

    def _reward(self, sim: Sim, ctrl: Array) -> tuple[Array, dict[str, Array]]:
        """Return the reward, and its weighted terms where the task names them."""
        reward = self.task.reward(sim, ctrl, self.task_state)
        weights = self._reward_weights
        if not isinstance(reward, dict):
            if weights:
                raise ValueError(
                    f"reward_weights needs named terms: {type(self.task).__name__}.reward "
                    "returns one array."
                )
            return reward + 0.0, {}  # a task may return what it keeps, which changes
        for name in weights:
            if name not in reward:
                raise ValueError(
                    f"Unknown reward term {name!r} in reward_weights. Known: {', '.join(reward)}."
                )
        terms = {name: term * weights.get(name, 1.0) for name, term in reward.items()}
        return sum(terms.values(), 0.0), terms

    def _metrics(self, sim: Sim, ended: Array, diverged: Array) -> dict[str, Array]:
        """Return the measures of episodes; a simulation that diverged has none."""
        backend, xp = self._backend, self._backend.xp
        metrics = {  # new arrays, as a restart changes what the task keeps
            name: xp.where(diverged, xp.zeros_like(values), values)
            for name, values in self.task.metrics(sim, self.task_state).items()
        }
        self.won = backend.assign(self.won, xp.where(ended, metrics["success"], self.won))
        return metrics

    def _restart(self, mask: Array) -> None:
        """Begin the next episode of some environments. Shape (N,), bool."""
        self.episode_index += mask
        self.begin(self._backend.rows(mask), carry_over=True)

    def observe(self, rows: EnvIndex = ALL) -> Observation:
        """Return new observations of some environments, float32, within their space."""
        sim = self.sim(rows)
        state = self.task_state
        if rows is not ALL:
            state = {name: self._backend.take(part, rows) for name, part in state.items()}
        if self.task.sensors:
            sim = sim._replace(sensors=self._read_sensors(sim))
        observation = self.task.observe(sim, state)
        return tree_map(self._backend.to_space, observation, *self._bounds)

    def _read_sensors(self, sim: Sim) -> dict[str, Array]:
        """Return the readings of all sensors, as disturbed as they are."""
        readings = {sensor.name: sensor.read(sim) for sensor in self.task.sensors}
        if not self._noisy:
            return readings
        backend, xp, rows = self._backend, self._backend.xp, sim.rows
        keys, episodes, steps = (
            backend.take(part, rows)
            for part in (self.rng_keys, self.episode_index, self.step_count)
        )
        draws = xp.astype(uniform(keys, episodes, self._sensor_draws, steps + 1), sim.qpos.dtype)
        first = 0
        for sensor in self.task.sensors:
            last, first = first, first + 3 * sensor.size
            if sensor in self._noisy:
                reading = readings[sensor.name]
                reading = sensor.add_noise(reading, draws[:, last:first], sim.parameters)
                readings[sensor.name] = self._late_reading(sensor.name, reading, sim)
        return readings

    def _late_reading(self, name: str, reading: Array, sim: Sim) -> Array:
        """Return the reading of the step before in episodes whose readings are late."""
        if f"{name}_latency" not in sim.parameters:
            return reading
        backend, xp, rows = self._backend, self._backend.xp, sim.rows
        flat = xp.reshape(reading, (reading.shape[0], -1))
        draw, previous = (
            backend.take(self.sensor_state[f"{name}_{what}"], rows)
            for what in ("latency_draw", "previous")
        )
        late = (draw < sim.parameters[f"{name}_latency"])[:, None] & (previous > -2.0)
        backend.put(self.sensor_state[f"{name}_reading"], rows, flat)
        return xp.reshape(xp.where(late, previous, flat), reading.shape)

    def sim(self, rows: EnvIndex = ALL) -> Sim:
        """Return what the task sees of some environments."""
        engine, duration = self.engine, self.task.timestep * self.task.frame_skip
        qpos, qvel = engine.qpos, engine.qvel
        if rows is ALL:
            if self._sim is None or self._sim.qpos is not qpos or self._sim.qvel is not qvel:
                self._sim = Sim(
                    engine,
                    ALL,
                    self.task.robot,
                    qpos,
                    qvel,
                    self.parameters,
                    self.history,
                    {},
                    duration,
                )
            return self._sim
        take = self._backend.take
        return Sim(
            engine,
            rows,
            self.task.robot,
            take(qpos, rows),
            take(qvel, rows),
            {name: take(part, rows) for name, part in self.parameters.items()},
            {name: take(part, rows) for name, part in self.history.items()},
            {},
            duration,
        )

    def get_state(self) -> dict[str, np.ndarray]:
        """Return what ``set_state`` needs to go on exactly from here."""
        parts = {name: getattr(self, name) for name in _FIELDS}
        for group in _GROUPS:
            parts |= {f"{group}/{name}": part for name, part in getattr(self, group).items()}
        parts |= {f"engine/{name}": part for name, part in self.engine.get_state().items()}
        state = {name: self._backend.to_numpy(part) for name, part in parts.items()}
        return {"made_as": self._made_as(), **state}

    def _made_as(self) -> np.ndarray:
        """Return what environments have to have in common to exchange their state, as bytes."""
        facts = {
            "task": self._setup.description,
            "engine": type(self.engine).__name__,
            "on_host": self._backend.on_host,
            "num_envs": self.num_envs,
            "domain_randomization": self._sampler.ranges,
        }
        return np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8).copy()

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go back to a state of environments made like these.

        Raises:
            ValueError: It is of others; nothing has changed.
        """
        self._check_state(state)
        backend = self._backend
        parts = {name: backend.array(np.array(part)) for name, part in state.items()}
        for name in _FIELDS:
            setattr(self, name, backend.assign(getattr(self, name), parts[name]))
        for group in _GROUPS:
            kept = getattr(self, group)
            found = {
                name.split("/", 1)[1]: part
                for name, part in parts.items()
                if name.startswith(f"{group}/")
            }
            for name in found.keys() - kept.keys():
                kept[name] = self._room(found[name])
            for name, part in found.items():
                same = kept[name].shape == part.shape
                kept[name] = backend.assign(kept[name], part) if same else part
        scales = {name: self.parameters[name] for name in self._robot_fields} or None
        everyone = backend.rows(backend.array(np.ones(self.num_envs, dtype=np.bool_)))
        zeros = self.engine.qpos * 0.0, self.engine.qvel * 0.0
        self.engine.reset(everyone, *zeros, scales)
        self.task.set_obstacles(self.engine, ALL, self.task_state)
        self.engine.set_state(
            {n.split("/", 1)[1]: part for n, part in parts.items() if n.startswith("engine/")}
        )

    def _check_state(self, state: Mapping[str, np.ndarray]) -> None:
        made_as = state.get("made_as")
        expected = self._made_as()
        if made_as is None or not np.array_equal(made_as, expected):
            theirs = None if made_as is None else bytes(np.asarray(made_as, np.uint8)).decode()
            raise ValueError(
                f"This is no state of these environments: got one of {theirs}, expected "
                f"{expected.tobytes().decode()}."
            )
        own = self.get_state()
        begun = bool(self.task_state)
        missing = [name for name in own if name not in state]
        unknown = [name for name in state if name not in own] if begun else []
        if missing or unknown:
            raise ValueError(
                f"This is no state of these environments: {missing or 'nothing'} is missing, "
                f"{unknown or 'nothing'} is unknown."
            )
        for name, part in state.items():
            if name in _FIELDS and part.shape != (self.num_envs,):
                raise ValueError(
                    f"State '{name}' must have shape ({self.num_envs},), got {part.shape}."
                )


def _replaced(backend: Backend, part: Array, rows: EnvIndex, new: Array) -> Array:
    """Return observations with some rows replaced; the first ones are left as they are."""
    whole = part.copy() if backend.on_host else part.clone()
    backend.put(whole, rows, new)
    return whole
