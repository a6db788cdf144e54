"""The one environment: N copies of a task on an engine, as a Gymnasium vector environment."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from robolearn_envs.engines import make_engine
from robolearn_envs.names import pick
from robolearn_envs.rendering import Renderer, Window, make_renderer
from robolearn_envs.robots import CartPole, ControlSuiteCartPole
from robolearn_envs.streams import uniform
from robolearn_envs.tasks import TASKS, action_kind
from robolearn_envs.tasks.base import ActionKind

Info = dict[str, Any]


class RoboVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """N copies of a task, stepped together; env i is bitwise the single env seeded ``seed + i``.

    Observations are new float32 arrays each step, shape (N, observations); rewards float64,
    shape (N,). At an episode's end ``success`` is in the info: under SAME_STEP in
    ``info["final_info"]``, with the last observations in ``info["final_obs"]``, shape
    (N, observations), valid where ``info["_final_obs"]``; in the other modes directly.
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
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        width: int = 640,
        height: int = 480,
        threads: int = 0,
    ) -> None:
        """Build the environments.

        Args:
            task: One of ``robolearn_envs.tasks.TASKS``.
            num_envs: N.
            engine: 'mujoco', 'bullet' or 'analytic'; None for the task's default.
            action: 'continuous' or 'discrete'; None for the task's default.
            randomize: r draws masses, pole length and motor force anew each episode, each
                uniform in (1 - r, 1 + r) times its nominal value; in [0, 1).
            autoreset_mode: What happens after an episode's end, as Gymnasium defines it.
            render_mode: 'rgb_array', 'human' (a window on env 0) or None.
            width: Of rendered frames, in pixels.
            height: Of rendered frames, in pixels.
            threads: Threads of the MuJoCo engine, 0 for one per core. Results do not depend on it.

        Raises:
            ValueError: An unknown name, or a combination that cannot be.
            ImportError: The engine is not installed.
        """
        self.task = pick("task", task, TASKS)
        self.engine_name = engine or self.task.engines[0]
        self._check(task, num_envs, randomize, render_mode)
        self.num_envs = num_envs
        self._engine = make_engine(self.engine_name, self.task, task, num_envs, threads)
        self._randomize = randomize
        self._mode = AutoresetMode(autoreset_mode)
        self.render_mode = render_mode
        self._size = (width, height)
        self._renderer: Renderer | None = None
        self._window: Window | None = None
        fps = round(1 / (self.task.timestep * self.task.substeps))
        self.metadata = {
            **type(self).metadata,
            "render_fps": fps,
            "autoreset_mode": self._mode,
        }
        self._set_spaces(action_kind(self.task, action))
        self._keys = np.zeros(num_envs, dtype=np.int64)
        self._episodes = np.zeros(num_envs, dtype=np.int64)
        self._seeded = False
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._held = np.zeros(num_envs, dtype=np.int64)
        self._done = np.ones(num_envs, dtype=np.bool_)  # nothing may be stepped before a reset
        self._factors = {n: np.ones(num_envs) for n in self.task.robot.randomised}
        self._strength = np.ones((num_envs, 1))  # of the motor, against nominal

    def _check(self, name: str, num_envs: int, randomize: float, render_mode: str | None) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}.")
        if not 0.0 <= randomize < 1.0:
            raise ValueError(f"randomize must lie in [0, 1), got {randomize}.")
        if randomize and not self.task.robot.randomised:
            raise ValueError(
                f"{name} is a fixed public definition and cannot be randomised, got "
                f"randomize={randomize}. Use CartPoleSwingUp-v0."
            )
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(
                f"render_mode must be 'rgb_array', 'human' or None, got {render_mode!r}."
            )

    def _set_spaces(self, kind: ActionKind) -> None:
        self.single_observation_space = self.task.observation_space
        self._low, self._high = (
            self.single_observation_space.low,
            self.single_observation_space.high,
        )
        self._levels = np.array(self.task.levels)[:, None] if kind == "discrete" else None
        if self._levels is not None:
            self.single_action_space = gym.spaces.Discrete(len(self._levels))
        else:
            actuated = len(self.task.robot.actuated)
            self.single_action_space = gym.spaces.Box(-1.0, 1.0, (actuated,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, Info]:
        """Start new episodes in all environments, or in those of ``options["reset_mask"]``.

        Args:
            seed: Env i is seeded ``seed + i``, or ``seed[i]``; None goes on with each env's
                stream (or, the first time, seeds from the operating system).
            options: ``{"reset_mask": mask}``, bool of shape (N,), resets only some.

        Returns:
            Observations of all environments, shape (N, observations), and an empty info.

        Raises:
            ValueError: Seeds or mask of another shape.
        """
        ids = self._reset_ids(options)
        if seed is not None or not self._seeded:
            self._seed(seed, ids)
        else:
            self._episodes[ids] += 1
        self._start(ids)
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

    def _start(self, ids: np.ndarray) -> None:
        """Begin the current episode of environments ``ids``."""
        count = self.task.start_draws
        extra = 1 + len(self._factors) if self._randomize else 0
        draws = uniform(self._keys[ids], self._episodes[ids], count + extra)
        factors = None
        if self._randomize:
            spread = 1 + self._randomize * (2 * draws[:, count:] - 1)
            factors = {name: spread[:, 1 + k] for k, name in enumerate(self._factors)}
            self._strength[ids, 0] = spread[:, 0]
            for name, factor in factors.items():
                self._factors[name][ids] = factor
        qpos, qvel = self.task.start(draws[:, :count])
        self._engine.reset(ids, qpos, qvel, factors)
        self._elapsed[ids] = 0
        self._held[ids] = 0
        self._done[ids] = False

    def _observe(self, ids: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return new observations of environments ``ids``. Shape (n, observations), float32."""
        observation = self.task.observe(self._engine.qpos[ids], self._engine.qvel[ids])
        return np.clip(observation.astype(np.float32), self._low, self._high)

    def _command(self, actions: np.ndarray) -> np.ndarray:
        """Return what the actions ask for, in [-1, 1]. Shape (N, actuated), float64."""
        actions = np.asarray(actions)
        expected = (self.num_envs, *(self.single_action_space.shape or ()))
        if actions.shape != expected:
            raise ValueError(f"Actions must have shape {expected}, got {actions.shape}.")
        if self._levels is None:
            if not np.isfinite(actions).all():
                env, joint = np.argwhere(~np.isfinite(actions))[0]
                raise ValueError(
                    f"Actions must be finite, got {actions[env, joint]} for env {env}."
                )
            return np.clip(actions.astype(np.float64), -1.0, 1.0)
        if actions.dtype.kind not in "iu":
            raise ValueError(f"Discrete actions must be integers, got {actions.dtype}.")
        if actions.min() < 0 or actions.max() >= len(self._levels):
            raise ValueError(
                f"Discrete actions must lie in 0..{len(self._levels) - 1}, "
                f"got {actions.min()}..{actions.max()}."
            )
        return self._levels[actions]

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Info]:
        """Advance every environment by one step.

        Args:
            actions: Shape (N, actuated) in [-1, 1] (clipped), or (N,) integer.

        Returns:
            Observations (N, observations), rewards (N,), terminated (N,), truncated (N,), info.

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
        command = self._command(actions)
        self._advance(command)
        reward, terminated, truncated = self._judge(command)
        if ended.any():  # NEXT_STEP: this step is their reset, and its action counts for nothing
            ids = np.flatnonzero(ended)
            self._restart(ids)
            reward[ids], terminated[ids], truncated[ids] = 0.0, False, False
        self._done = terminated | truncated
        observation = self._observe()
        info = self._finish(observation) if self._done.any() else {}
        if self.render_mode == "human":
            self.render()
        return observation, reward, terminated, truncated, info

    def _advance(self, command: np.ndarray) -> None:
        drive = command * self._strength if self._randomize else command
        for _ in range(self.task.substeps):
            self._engine.step(self.task.force(self._engine.qpos, self._engine.qvel, drive))

    def _judge(self, command: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return reward, terminated and truncated of the step just made, each of shape (N,)."""
        qpos, qvel = self._engine.qpos, self._engine.qvel
        self._elapsed += 1
        self._held = np.where(self.task.holds(qpos, qvel), self._held + 1, 0)
        return (
            self.task.reward(qpos, qvel, command),
            self.task.terminated(qpos, qvel),
            self._elapsed >= self.task.max_steps,
        )

    def _restart(self, ids: np.ndarray) -> None:
        self._episodes[ids] += 1
        self._start(ids)

    def _finish(self, observation: np.ndarray) -> Info:
        """Return the info of ended episodes; under SAME_STEP also begin the next ones.

        Args:
            observation: All observations; those of restarted environments are replaced.
        """
        done = self._done.copy()
        result: Info = {"success": done & (self._held >= self.task.hold_steps), "_success": done}
        if self._mode is not AutoresetMode.SAME_STEP:
            return result
        ids = np.flatnonzero(done)
        final = np.zeros_like(observation)
        final[ids] = observation[ids]
        self._restart(ids)
        observation[ids] = self._observe(ids)
        return {
            "final_obs": final,
            "_final_obs": done.copy(),
            "final_info": result,
            "_final_info": done.copy(),
        }

    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """Return copies of all joint positions and velocities, each of shape (N, joints)."""
        return self._engine.qpos.copy(), self._engine.qvel.copy()

    def robot(self, index: int) -> CartPole | ControlSuiteCartPole:
        """Return the robot of environment ``index`` as it is in this episode."""
        if not self._randomize or not isinstance(self.task.robot, CartPole):
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
            self._window = Window(*self._size, fps=self.metadata["render_fps"])
        self._window.show(self._frame(0))
        return None

    def _frame(self, index: int) -> np.ndarray:
        if self._renderer is None:
            self._renderer = make_renderer(self.engine_name, *self._size)
        return self._renderer.render(self.robot(index), self._engine.qpos[index])

    @property
    def renderer_name(self) -> str | None:
        """What draws the frames; None until there is one."""
        return None if self._renderer is None else self._renderer.name

    def close_extras(self) -> None:
        """Release the engine, the renderer and the window."""
        self._engine.close()
        if self._renderer is not None:
            self._renderer.close()
        if self._window is not None:
            self._window.close()
