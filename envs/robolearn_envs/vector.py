"""The one environment: N copies of a task on an engine, as a Gymnasium vector environment."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from robolearn_envs.actions import Actions
from robolearn_envs.arenas.layouts import parked
from robolearn_envs.engines import DEVICE_ENGINES, ENGINES, TWINS, Damping, make_engine
from robolearn_envs.engines.base import EngineError, Rows
from robolearn_envs.names import did_you_mean, pick
from robolearn_envs.observations import copy_rows, within, zeros_like
from robolearn_envs.rendering import Window, make_pictures
from robolearn_envs.rendering.situation import DRAWN
from robolearn_envs.robots import CartPole, DiscRobot, Robot, Rover
from robolearn_envs.streams import uniform
from robolearn_envs.tasks import action_kind, make_task
from robolearn_envs.tasks.base import ActionKind, Memory, Noise, Observation

Info = dict[str, Any]
OnNan = Literal["stop", "reset"]
_OWN = {"keys", "episodes", "elapsed", "done", "won", "strength"}
"""Attributes of environments, shape (N, ...), in a snapshot."""
ON_NAN: tuple[OnNan, ...] = get_args(OnNan)


class RoboVectorEnv(VectorEnv[Any, np.ndarray, np.ndarray]):
    """N copies of a task, stepped together; env i is bitwise the single env seeded ``seed + i``.

    Observations are new float32 arrays each step, shape (N, ...), or a dict of them; rewards
    float64, shape (N,). At an episode's end the task's outcome, such as ``success``, is in the
    info: under SAME_STEP in ``info["final_info"]``, with the last observations in
    ``info["final_obs"]``, shaped like observations, valid where ``info["_final_obs"]``; in the
    other modes directly.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(
        self,
        task: str,
        num_envs: int = 1,
        *,
        engine: str | None = None,
        action: ActionKind | None = None,
        randomize: float = 0.0,
        damping: Damping = "none",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        view: str | None = None,
        width: int | None = None,
        height: int | None = None,
        threads: int = 0,
        on_nan: OnNan = "stop",
        **task_options: Any,
    ) -> None:
        """Build the environments.

        Args:
            task: One of ``robolearn_envs.tasks.TASKS``.
            num_envs: N.
            engine: 'mujoco', 'bullet' or 'analytic'; None for the task's default.
            action: 'continuous' or 'discrete'; None for the task's default.
            randomize: r draws masses, pole length and motor force anew each episode, each
                uniform in (1 - r, 1 + r) times its nominal value, and disturbs lidar and depth
                camera; in [0, 1). A robot whose motors obey a servo has its commanded speeds
                multiplied instead of its force.
            damping: Of engine 'bullet': 'default' leaves on every link the drag that PyBullet gives
                it unless told not to, a force of -0.04 m v (1 + |v|) and a torque of
                -0.04 I w (1 + |w|) in SI units, which no other engine has; 'none' takes it off.
            autoreset_mode: What happens after an episode's end, as Gymnasium defines it.
            render_mode: 'rgb_array', 'human' (a window on env 0) or None.
            view: What frames of navigation show: 'top', a map; 'chase', a camera behind the
                robot; 'both', the default.
            width: Of rendered frames, in pixels; by default 640, in navigation 960 (480 for the
                map, 640 for the chase alone).
            height: Of rendered frames, in pixels; by default 480.
            threads: Threads of the MuJoCo engine, 0 for one per core. Results do not depend on it.
            on_nan: What becomes of an environment whose simulation breaks down: 'stop' raises an
                EngineError, 'reset' truncates the episode, without a reward, and says so in
                ``info["lost"]``, bool of shape (N,).
            **task_options: What the task takes: ``robot``, and for navigation ``level``,
                ``split`` and ``curriculum``.

        Raises:
            ValueError: An unknown name, or a combination that cannot be.
            ImportError: The engine is not installed.
        """
        self.task = make_task(task, task_options)
        self.engine_name = engine or self.task.engines[0]
        self._check(task, num_envs, randomize, render_mode)
        if on_nan not in ON_NAN:
            raise ValueError(did_you_mean("on_nan", on_nan, ON_NAN))
        self._on_nan = on_nan
        self.num_envs = num_envs
        self._engine = make_engine(
            self.engine_name, self.task.robot, self.task.timestep, num_envs, threads, damping
        )
        self._randomize = randomize
        self._mode = AutoresetMode(autoreset_mode)
        self.render_mode = render_mode
        self._pictures = make_pictures(
            self.task.picture,
            self.task.robot,
            self.engine_name,
            num_envs,
            view=view,
            width=width,
            height=height,
        )
        self._window: Window | None = None
        fps = round(1 / (self.task.timestep * self.task.substeps))
        self.metadata = {
            **type(self).metadata,
            "render_fps": fps,
            "autoreset_mode": self._mode,
        }
        self._actions = Actions(self.task, action_kind(self.task, action))
        self.single_observation_space = self.task.observation_space
        self.single_action_space = self._actions.space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._keys = np.zeros(num_envs, dtype=np.int64)
        self._episodes = np.zeros(num_envs, dtype=np.int64)
        self._seeded = False
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._memory: dict[str, np.ndarray] = {}
        self._done = np.ones(num_envs, dtype=np.bool_)  # nothing may be stepped before a reset
        self._won = np.zeros(num_envs, dtype=np.bool_)  # the last episode was a success
        self._factors = {n: np.ones(num_envs) for n in self.task.robot.randomized}
        self._strength = np.ones((num_envs, 1))  # of the motor, against nominal

    def _check(self, name: str, num_envs: int, randomize: float, render_mode: str | None) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}.")
        if self.engine_name in DEVICE_ENGINES:
            raise ValueError(
                f"Engine '{self.engine_name}' steps batches on a device: use gymnasium.make_vec. "
                f"A single environment moves alike on engine='{TWINS[self.engine_name]}'."
            )
        pick("engine", self.engine_name, {**ENGINES, **DEVICE_ENGINES})
        if self.engine_name not in self.task.engines:
            raise ValueError(
                f"{name} does not run on engine '{self.engine_name}': it is defined on "
                f"{' and '.join(self.task.engines)} only. Use engine='{self.task.engines[0]}'."
            )
        number = isinstance(randomize, int | float | np.floating)
        if not number or not 0.0 <= randomize < 1.0:
            raise ValueError(f"randomize must lie in [0, 1), got {randomize!r}.")
        if randomize and not self.task.robot.randomized:
            raise ValueError(
                f"{name} is a fixed public definition and cannot be randomized, got "
                f"randomize={randomize}. Use CartPoleSwingUp-v0."
            )
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(
                f"render_mode must be 'rgb_array', 'human' or None, got {render_mode!r}."
            )

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Info]:
        """Start new episodes in all environments, or in those of ``options["reset_mask"]``.

        Args:
            seed: Env i is seeded ``seed + i``, or ``seed[i]``; None goes on with each env's
                stream (or, the first time, seeds from the operating system).
            options: ``"reset_mask"``, bool of shape (N,), resets only some; other keys are the
                task's, e.g. ``"layout"`` and ``"start"`` in navigation, for all that are reset.

        Returns:
            Observations of all environments, shape (N, observations), and an empty info.

        Raises:
            ValueError: Seeds or mask of another shape, or an option the task cannot grant; then
                nothing has changed and the running episodes can go on.
        """
        ids = self._reset_ids(options)
        wishes = {key: wish for key, wish in (options or {}).items() if key != "reset_mask"}
        counters = self._keys.copy(), self._episodes.copy(), self._seeded
        before = None
        if seed is not None or not self._seeded:
            self._seed(seed, ids)
        else:
            self._episodes[ids] += 1
            before = self._last_episodes(ids)
        try:
            self._start(ids, before, wishes)
        except ValueError:  # refused before anything was started
            self._keys, self._episodes, self._seeded = counters
            raise
        if self.render_mode == "human":
            self.render()
        return self._observe(), {}

    def _reset_ids(self, options: dict[str, Any] | None) -> np.ndarray:
        if not options or "reset_mask" not in options:
            return np.arange(self.num_envs)
        mask = np.asarray(options["reset_mask"])
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(
                f"options['reset_mask'] must be bool of shape ({self.num_envs},) and true "
                f"somewhere, got {mask.dtype} of shape {mask.shape}."
            )
        return np.flatnonzero(mask)

    def _seed(self, seed: int | list[int] | None, ids: np.ndarray) -> None:
        if seed is None:
            self._keys = self.np_random.integers(2**63, size=self.num_envs)
        elif isinstance(seed, list):
            if len(seed) != self.num_envs:
                raise ValueError(f"seed must list {self.num_envs} seeds, got {len(seed)}.")
            self._keys[ids] = np.array(seed, dtype=np.int64)[ids]
        else:
            super().reset(seed=seed)
            if seed + self.num_envs >= 2**63:
                raise ValueError(f"seed must be below 2^63 - num_envs, got {seed}.")
            named = ids if self._seeded else np.arange(self.num_envs)  # none is left without one
            self._keys[named] = seed + named
        self._episodes[ids] = 0
        self._seeded = True

    def _start(self, ids: np.ndarray, before: Memory | None, wishes: Mapping[str, Any]) -> None:
        """Begin the current episode of environments ``ids``.

        Args:
            ids: Which.
            before: Of ``_last_episodes``; None where they should not matter.
            wishes: Options of the task.
        """
        count = self.task.start_draws
        extra = 1 + len(self._factors) if self._randomize else 0
        draws = uniform(self._keys[ids], self._episodes[ids], count + extra)
        start = self.task.start(draws[:, :count], before, wishes)
        factors = None
        if self._randomize:
            spread = 1 + self._randomize * (2 * draws[:, count:] - 1)
            factors = {name: spread[:, 1 + k] for k, name in enumerate(self._factors)}
            self._strength[ids, 0] = spread[:, 0]
            for name, factor in factors.items():
                self._factors[name][ids] = factor
        self._engine.reset(ids, start.qpos, start.qvel, factors)
        if self._remember(ids, start.memory):  # the engine gets as many obstacles for everyone
            self.task.furnish(self._engine, slice(None), self._memory)
        else:
            self.task.furnish(self._engine, ids, start.memory)
        if self.render_mode is not None:
            self._pictures.begin(ids, self._engine.qpos)
        self._elapsed[ids] = 0
        self._done[ids] = False
        self._won[ids] = False

    def _last_episodes(self, ids: np.ndarray) -> Memory:
        """Return what the task carries over from the last episodes, and which were a success.

        Success is as it was when they ended: in mode NEXT_STEP the world has moved on since.
        """
        carried = {name: self._memory[name][ids] for name in self.task.carried}
        return {**carried, "success": self._won[ids]}

    def _remember(self, ids: np.ndarray, memory: Memory) -> bool:
        """Write what the task remembers of environments ``ids``.

        Returns:
            Whether there are more obstacles than there were until now.
        """
        wider = False
        for name, rows in memory.items():
            kept = self._memory.get(name)
            if kept is None:  # who has not begun yet gets something sensible
                kept = np.repeat(rows[:1], self.num_envs, axis=0)
            elif kept.shape[1:] != rows.shape[1:]:
                kept, wider = parked(kept, rows.shape[1]), True
            kept[ids] = rows
            self._memory[name] = kept
        return wider

    def _memory_of(self, ids: Rows) -> Memory:
        """Return what the task remembers of environments ``ids``."""
        return {name: rows[ids] for name, rows in self._memory.items()}

    def _observe(self, ids: Rows = slice(None)) -> Observation:
        """Return new observations of environments ``ids``, float32, within their space."""
        memory = self._memory_of(ids)
        qpos, qvel = self._engine.qpos[ids], self._engine.qvel[ids]
        observation = self.task.observe(self._engine, ids, qpos, qvel, memory)
        if self._randomize and self.task.sensor_draws:
            observation = self._disturb(ids, observation, memory)
        return within(self.single_observation_space, observation)

    def _disturb(self, ids: Rows, observation: Observation, memory: Memory) -> Observation:
        draws = uniform(
            self._keys[ids], self._episodes[ids], self.task.sensor_draws, self._elapsed[ids] + 1
        )
        noise = Noise(self._randomize, draws)
        observation, changed = self.task.disturb(observation, memory, noise)
        for name, rows in changed.items():
            self._memory[name][ids] = rows
        return observation

    def action_for(self, command: np.ndarray) -> np.ndarray:
        """Return the actions that ask for a command, or the nearest discrete ones.

        Args:
            command: In [-1, 1]. Shape (N, commands).
        """
        return self._actions.nearest(command)

    def mirrored(self, observation: Any, actions: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return observations and actions of the same world in a mirror, left for right.

        What leads from one observation to another leads from its mirror image to the other's. With
        discrete actions that is exact where the opposite of each command is among the choices, as
        it is in our tasks.

        Args:
            observation: Any number of them. Shape (B, ...), or a dict of such.
            actions: Any number of them. Shape (A, ...).
        """
        return self.task.mirrored(observation), self._actions.mirrored(actions)

    def step(self, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, Info]:
        """Advance every environment by one step.

        Args:
            actions: Shape (N, commands) in [-1, 1] (clipped), or (N,) integer.

        Returns:
            Observations (N, ...), rewards (N,), terminated (N,), truncated (N,), info.

        Raises:
            ResetNeeded: An environment has ended (or never begun) and is not reset by the mode.
            ValueError: Actions of another shape or type, outside the space or not finite.
            EngineError: The simulation broke down.
        """
        ended, following = self._done, self._mode is AutoresetMode.NEXT_STEP
        stuck = ended & (self._elapsed == 0) if following else ended  # never begun, or ended
        if stuck.any():
            raise ResetNeeded(
                f"Env {np.flatnonzero(stuck)[0]} has no running episode: call reset() first."
            )
        command = self._actions.command(actions, self.num_envs)
        self._advance(command)
        broken = self._broken(ended)
        reward, terminated, truncated = self._judge(command)
        if broken is not None:
            reward[broken], terminated[broken], truncated[broken] = 0.0, False, True
        if ended.any():  # NEXT_STEP: this step is their reset, and its action counts for nothing
            ids = np.flatnonzero(ended)
            self._restart(ids)
            reward[ids], terminated[ids], truncated[ids] = 0.0, False, False
        self._done = terminated | truncated
        observation = self._observe()
        info = self._finish(observation, terminated) if self._done.any() else {}
        if broken is not None:
            info |= {"lost": broken, "_lost": broken}
        if self.render_mode == "human":
            self.render()
        return observation, reward, terminated, truncated, info

    def _advance(self, command: np.ndarray) -> None:
        drive = command * self._strength if self._randomize else command
        for _ in range(self.task.substeps):
            self._engine.step(self.task.force(self._engine.qpos, self._engine.qvel, drive))
        qpos, qvel = self._engine.qpos, self._engine.qvel
        self._memory |= self.task.advance(self._engine, qpos, qvel, self._memory)
        if self.render_mode is not None:
            self._pictures.follow(qpos)

    def _broken(self, ended: np.ndarray) -> np.ndarray | None:
        """Return which simulations broke down in this step, shape (N,), bool; None for none.

        Args:
            ended: Episodes that are over already. Shape (N,), bool.

        Raises:
            EngineError: One did, and the caller is to know.
        """
        broken = self._engine.broken & ~ended
        if not broken.any():
            return None
        if self._on_nan == "stop":
            env = int(broken.argmax())
            raise EngineError(
                f"{self.engine_name}: the state of env {env} is no longer finite.", env
            )
        warnings.warn(
            f"{self.engine_name}: the state of env {', '.join(map(str, np.flatnonzero(broken)))} "
            "is no longer finite: its episode was truncated.",
            RuntimeWarning,
            stacklevel=3,
        )
        return broken

    def _judge(self, command: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return reward, terminated and truncated of the step just made, each of shape (N,)."""
        qpos, qvel = self._engine.qpos, self._engine.qvel
        self._elapsed += 1
        return (
            self.task.reward(qpos, qvel, command, self._memory),
            self.task.terminated(qpos, qvel, self._memory),
            self._elapsed >= self.task.max_steps,
        )

    def _restart(self, ids: np.ndarray) -> None:
        self._episodes[ids] += 1
        self._start(ids, self._last_episodes(ids), {})

    def _finish(self, observation: Observation, terminated: np.ndarray) -> Info:
        """Return the info of ended episodes; under SAME_STEP also begin the next ones.

        Args:
            observation: All observations; those of restarted environments are replaced.
            terminated: Which ended for good. Shape (N,), bool.
        """
        done = self._done.copy()
        result: Info = {}
        outcome = self.task.outcome(self._memory, terminated)
        self._won[done] = outcome["success"][done]
        for name, figure in outcome.items():
            result[name] = np.where(done, figure, np.zeros_like(figure))
            result[f"_{name}"] = done.copy()
        if self._mode is not AutoresetMode.SAME_STEP:
            return result
        ids = np.flatnonzero(done)
        final = zeros_like(observation)
        copy_rows(observation, ids, final, ids)
        self._restart(ids)
        copy_rows(self._observe(ids), slice(None), observation, ids)
        return {
            "final_obs": final,
            "_final_obs": done.copy(),
            "final_info": result,
            "_final_info": done.copy(),
        }

    def snapshot(self) -> dict[str, np.ndarray]:
        """Return what ``restore`` needs to go on exactly from here, but for pictures."""
        own = {name: getattr(self, f"_{name}").copy() for name in _OWN}
        memory = {f"memory/{name}": rows.copy() for name, rows in self._memory.items()}
        factors = {f"factor/{name}": rows.copy() for name, rows in self._factors.items()}
        engine = {f"engine/{name}": part for name, part in self._engine.snapshot().items()}
        return own | memory | factors | engine

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Go back to a snapshot of environments made like these.

        Raises:
            ValueError: It is one of others.
        """
        parts: dict[str, dict[str, np.ndarray]] = {"memory": {}, "factor": {}, "engine": {}}
        for name, array in snapshot.items():
            kind, _, rest = name.rpartition("/")
            if kind in parts:
                parts[kind][rest] = array.copy()
        if parts["factor"].keys() != self._factors.keys() or not snapshot.keys() >= _OWN:
            raise ValueError(f"This is no snapshot of {type(self.task).__name__}.")
        for name in _OWN:
            getattr(self, f"_{name}")[:] = snapshot[name]
        self._seeded = True
        self._memory = parts["memory"]
        for name, factors in self._factors.items():
            factors[:] = parts["factor"][name]
        everyone = np.arange(self.num_envs)
        at_rest = np.zeros_like(self._engine.qpos), np.zeros_like(self._engine.qvel)
        self._engine.reset(everyone, *at_rest, self._factors if self._randomize else None)
        self.task.furnish(self._engine, slice(None), self._memory)
        self._engine.restore(parts["engine"])

    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """Return copies of all positions and velocities, shapes (N, positions), (N, velocities)."""
        return self._engine.qpos.copy(), self._engine.qvel.copy()

    def pictured(self) -> dict[str, np.ndarray]:
        """Return all that ``show`` draws, by name, shapes (N, ...); true until the next reset."""
        qpos, qvel = self.state()
        memory = {name: self._memory[name] for name in DRAWN if name in self._memory}
        return {"qpos": qpos, "qvel": qvel, **memory}

    def show(self, pictured: Mapping[str, np.ndarray], *, begin: bool = False) -> None:
        """Put all environments into states of ``pictured``, to be drawn.

        Args:
            pictured: What it returned.
            begin: They are the first of what is shown: no way that was gone before is drawn.
        """
        memory = dict(pictured)
        qpos, qvel = memory.pop("qpos"), memory.pop("qvel")
        everyone = np.arange(self.num_envs)
        self._engine.reset(everyone, qpos, qvel, None)
        self._memory = memory
        if begin:
            self._pictures.begin(everyone, qpos)
        else:
            self._pictures.follow(qpos)

    @property
    def memory(self) -> Memory:
        """What the task remembers of each episode; live, do not write. Shapes (N, ...)."""
        return self._memory

    def robot(self, index: int) -> Robot:
        """Return the robot of environment ``index`` as it is in this episode."""
        if not self._randomize or not isinstance(self.task.robot, CartPole | DiscRobot | Rover):
            return self.task.robot
        return self.task.robot.scaled({n: float(f[index]) for n, f in self._factors.items()})

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return a frame of every environment, uint8 of shape (height, width, 3).

        In mode 'human' env 0 is shown in a window instead and None is returned.

        Raises:
            ValueError: The environment was made without a ``render_mode``.
        """
        if self.render_mode is None:
            raise ValueError(
                "Nothing to render: make the environment with render_mode='rgb_array'."
            )
        if self.render_mode == "rgb_array":
            return tuple(self._frame(i) for i in range(self.num_envs))
        if self._window is None:
            self._window = Window(*self._pictures.size, fps=self.metadata["render_fps"])
        self._window.show(self._frame(0))
        return None

    def _frame(self, index: int) -> np.ndarray:
        robot, qpos = self.robot(index), self._engine.qpos[index]
        return self._pictures.frame(index, robot, qpos, self._memory)

    @property
    def renderer_name(self) -> str | None:
        """What draws the frames; None until there is one."""
        return self._pictures.name

    @property
    def caption_column(self) -> int:
        """Where frames have room for a caption at their upper edge, in pixels from the left."""
        return self._pictures.caption_column

    def close_extras(self) -> None:
        """Release the engine, the renderer and the window."""
        self._engine.close()
        self._pictures.close()
        if self._window is not None:
            self._window.close()
