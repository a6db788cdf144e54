"""N environments on the host, as a Gymnasium vector environment."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from robolearn_envs.actions import Actions
from robolearn_envs.config import DomainRandomization
from robolearn_envs.core.backend import NumpyBackend, tree_map
from robolearn_envs.core.episodes import Episodes, StepResult
from robolearn_envs.core.rng import Seed, seed_keys
from robolearn_envs.core.setup import set_up
from robolearn_envs.engines import DEVICE_ENGINES, ENGINES, HOST_EQUIVALENT, make_engine
from robolearn_envs.engines.base import SimulationError
from robolearn_envs.names import did_you_mean
from robolearn_envs.registry import action_kind
from robolearn_envs.rendering import Window, make_frame_renderer
from robolearn_envs.rendering.scene_state import render_state
from robolearn_envs.robots import Robot
from robolearn_envs.robots.base import env_robot
from robolearn_envs.tasks.base import ActionKind, Task, TaskState

Info = dict[str, Any]
OnDivergence = Literal["raise", "truncate"]
ON_DIVERGENCE: tuple[OnDivergence, ...] = get_args(OnDivergence)
_SCALE = "scale."
"""Before the name of a robot's field in what is drawn."""


class RoboVectorEnv(VectorEnv[Any, np.ndarray, np.ndarray]):
    """N environments, stepped together; env i is bitwise the single env seeded ``seed + i``.

    Observations are new float32 arrays each step, shape (N, ...), or a dict of them; rewards
    float64, shape (N,). At an episode's end the task's metrics, such as ``success``, are in the
    info: under SAME_STEP in ``info["final_info"]``, with the last observations in
    ``info["final_obs"]``, an object array of shape (N,) as Gymnasium defines it; in the other modes
    directly. ``info["reward_terms"]`` holds the weighted terms of the reward, where the task names
    them, and ``info["domain_randomization"]`` the parameters of episodes that begin.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(
        self,
        env_id: str,
        num_envs: int = 1,
        *,
        engine: str | None = None,
        action: ActionKind | None = None,
        domain_randomization: DomainRandomization = 0.0,
        action_delay: int = 0,
        reward_weights: Mapping[str, float] | None = None,
        ctrl_limit: float = 1.0,
        timestep: float | None = None,
        frame_skip: int | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        on_divergence: OnDivergence = "raise",
        render_mode: str | None = None,
        view: str | None = None,
        width: int | None = None,
        height: int | None = None,
        num_threads: int | None = None,
        bullet_damping: bool = False,
        **task_options: Any,
    ) -> None:
        """Build the environments.

        Args:
            env_id: Id of a registered task.
            num_envs: N.
            engine: 'mujoco', 'bullet', 'analytic' or a registered one; None for the task's default.
            action: 'continuous' or 'discrete'; None for the task's default.
            domain_randomization: Draws parameters of each episode: a number r for all of them, or a
                range for each; see :data:`~robolearn_envs.config.DomainRandomization`.
            action_delay: Control steps between an action and its effect.
            reward_weights: Factors of the reward's terms, by name.
            ctrl_limit: Largest command of the actuators, in parts of what they can, in (0, 1].
            timestep: Physics step in s; None for the task's.
            frame_skip: Physics steps in a control step; None for the task's.
            max_episode_steps: Time limit in control steps; None for the one registered.
            autoreset_mode: What happens after an episode's end, as Gymnasium defines it.
            on_divergence: What becomes of an environment whose simulation diverges: 'raise' raises
                a SimulationError, 'truncate' truncates the episode, without a reward, and says so
                in ``info["diverged"]``, bool of shape (N,).
            render_mode: 'rgb_array', 'human' (a window on env 0) or None.
            view: What frames of navigation show: 'top', a map; 'chase', a camera behind the
                robot; 'both', the default.
            width: Of rendered frames, in pixels; by default 640, in navigation 960 (480 for the
                map, 640 for the chase alone).
            height: Of rendered frames, in pixels; by default 480.
            num_threads: Threads of the MuJoCo engine, 0 for one per core. Results do not depend on
                it.
            bullet_damping: Of engine 'bullet': keep PyBullet's default drag on every link, a force
                of -0.04 m v (1 + |v|) and a torque of -0.04 I w (1 + |w|) in SI units, which no
                other engine has.
            **task_options: What the task takes: ``robot``, and for navigation ``level``,
                ``split``, ``curriculum`` and ``lidar``.

        Raises:
            ValueError: An unknown name, or a combination that cannot be.
            TypeError: No such keyword.
            ImportError: The engine is not installed.
        """
        self._made_with = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self._made_with |= self._made_with.pop("task_options")
        if engine in DEVICE_ENGINES:
            raise ValueError(
                f"Engine '{engine}' steps batches on a device: use gymnasium.make_vec. "
                f"A single environment moves alike on engine='{HOST_EQUIVALENT[engine]}'."
            )
        setup = set_up(
            env_id,
            num_envs,
            task_options,
            engine=engine,
            domain_randomization=domain_randomization,
            action_delay=action_delay,
            reward_weights=reward_weights,
            ctrl_limit=ctrl_limit,
            timestep=timestep,
            frame_skip=frame_skip,
            max_episode_steps=max_episode_steps,
        )
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(
                f"render_mode must be 'rgb_array', 'human' or None, got {render_mode!r}."
            )
        if on_divergence not in ON_DIVERGENCE:
            raise ValueError(did_you_mean("on_divergence", str(on_divergence), ON_DIVERGENCE))
        self.task: Task = setup.task
        self.env_id, self.engine_name, self.num_envs = env_id, setup.engine_name, num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.render_mode = render_mode
        self._frames = make_frame_renderer(
            self.task, num_envs, view=view, width=width, height=height
        )
        self._window: Window | None = None
        self._actions = Actions(self.task, action_kind(self.task, action))
        self.single_observation_space = self.task.observation_space
        self.single_action_space = self._actions.space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        fps = round(1 / (self.task.timestep * self.task.frame_skip))
        self.metadata = {
            **type(self).metadata,
            "render_fps": max(fps, 1),
            "autoreset_mode": self.autoreset_mode,
        }
        self._engine = self._make_engine(num_threads, bullet_damping)
        self._episodes = Episodes(
            setup, self._engine, num_envs, NumpyBackend(), self.autoreset_mode, dtype=np.float64
        )
        # None of these refers to the environments: they, and worlds of Bullet's, end with the last
        # reference to them and need not wait for the garbage collector.
        frames, physics = self._frames, self._engine
        self._episodes.on_diverged = partial(_report_diverged, setup.engine_name, on_divergence)
        if render_mode is not None:
            self._episodes.on_begin = lambda rows: frames.reset(rows, physics.qpos)
            self._episodes.on_simulated = lambda: frames.update(physics.qpos)
        self._seeded = False
        self._term_names: tuple[str, ...] | None = None

    def _make_engine(self, num_threads: int | None, bullet_damping: bool) -> Any:
        options: dict[str, Any] = {}
        if not isinstance(bullet_damping, bool):
            raise ValueError(f"bullet_damping must be True or False, got {bullet_damping!r}.")
        if bullet_damping:
            options["bullet_damping"] = True
        if num_threads is not None and "num_threads" in ENGINES[self.engine_name].options:
            options["num_threads"] = num_threads  # results do not depend on it
        timestep = self.task.timestep
        return make_engine(self.engine_name, self.task.robot, timestep, self.num_envs, **options)

    @property
    def spec(self) -> Any:
        """What Gymnasium made it with; an autoreset mode in it is a string, as JSON wants it."""
        return self._spec

    @spec.setter
    def spec(self, spec: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        if spec is not None and isinstance(spec.kwargs.get("autoreset_mode"), AutoresetMode):
            spec.kwargs["autoreset_mode"] = spec.kwargs["autoreset_mode"].value
        self._spec = spec

    _spec: Any = None

    def reset(
        self, *, seed: Seed = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Info]:
        """Start new episodes in all environments, or in those of ``options["reset_mask"]``.

        Args:
            seed: Env i is seeded ``seed + i``, or ``seed[i]``; None goes on with each env's
                stream (or, the first time, seeds from the operating system).
            options: ``"reset_mask"``, bool of shape (N,), resets only some; other keys are the
                task's, e.g. ``"layout"`` and ``"start"`` in navigation, for all that are reset.

        Returns:
            Observations of all environments, shape (N, observations), and the parameters of the
            episodes in ``info["domain_randomization"]``, if they are randomized.

        Raises:
            ValueError: Seeds or mask of another shape, or an option the task cannot grant; then
                nothing has changed and the running episodes can go on.
        """
        rows = self._reset_rows(options)
        wanted = {key: value for key, value in (options or {}).items() if key != "reset_mask"}
        for name in wanted:
            if name not in self.task.reset_options:
                known = (*self.task.reset_options, "reset_mask")
                raise ValueError(did_you_mean("option of reset", str(name), known))
        episodes = self._episodes
        counters = episodes.rng_keys.copy(), episodes.episode_index.copy(), self._seeded
        carry_over = seed is None and self._seeded
        if carry_over:
            episodes.episode_index[rows] += 1
        else:
            self._seed(seed, rows)
        try:
            episodes.begin(rows, carry_over=carry_over, options=wanted)
        except ValueError:  # refused before anything was started
            episodes.rng_keys, episodes.episode_index, self._seeded = counters
            raise
        if self.render_mode == "human":
            self.render()
        return episodes.observe(), self._parameters_info(rows)

    def _reset_rows(self, options: dict[str, Any] | None) -> np.ndarray:
        if not options or "reset_mask" not in options:
            return np.arange(self.num_envs)
        mask = np.asarray(options["reset_mask"])
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(
                f"options['reset_mask'] must be bool of shape ({self.num_envs},) and true "
                f"somewhere, got {mask.dtype} of shape {mask.shape}."
            )
        return np.flatnonzero(mask)

    def _seed(self, seed: Seed, rows: np.ndarray) -> None:
        keys = reseed(self, seed, self.num_envs)
        named = rows if self._seeded else np.arange(self.num_envs)  # none is left without one
        self._episodes.rng_keys[named] = keys[named]
        self._episodes.episode_index[rows] = 0
        self._seeded = True

    def step(self, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, Info]:
        """Advance every environment by one step.

        Args:
            actions: Shape (N, num_ctrl) in [-1, 1] (clipped), or (N,) integer.

        Returns:
            Observations (N, ...), rewards (N,), terminated (N,), truncated (N,), info.

        Raises:
            ResetNeeded: An environment has ended (or never begun) and is not reset by the mode.
            ValueError: Actions of another shape or type, outside the space or not finite.
            SimulationError: The simulation diverged.
        """
        episodes = self._episodes
        blocked = episodes.needs_reset
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            blocked = blocked & (episodes.step_count == 0)  # never begun
        if blocked.any():
            raise ResetNeeded(
                f"Env {np.flatnonzero(blocked)[0]} has no running episode: call reset() first."
            )
        restarted = blocked if not episodes.parameters else episodes.needs_reset.copy()
        result = episodes.step(self._actions.ctrl(actions, self.num_envs))
        info = self._info(result, restarted)
        if self.render_mode == "human":
            self.render()
        return result.obs, result.reward, result.terminated, result.truncated, info

    def _info(self, result: StepResult, restarted: np.ndarray) -> Info:
        """Return the info of a step, as Gymnasium's vector environments lay it out."""
        info: Info = {}
        if result.reward_terms:
            everyone = np.ones(self.num_envs, dtype=np.bool_)
            info["reward_terms"] = _masked(result.reward_terms, everyone)
            info["_reward_terms"] = everyone
        if result.metrics:
            done: Any = result.terminated | result.truncated
            metrics = {**result.metrics, "is_success": result.metrics["success"].copy()}
            metrics["diverged"] = result.diverged.copy()
            ended = _masked(
                {k: np.where(done, v, v.dtype.type(0)) for k, v in metrics.items()}, done
            )
            if self.autoreset_mode is AutoresetMode.SAME_STEP:
                info["final_info"], info["_final_info"] = ended, done.copy()
                info["final_obs"], info["_final_obs"] = _rows(result.final_obs, done), done.copy()
                restarted = done
            else:
                info |= ended
        if self.autoreset_mode is AutoresetMode.SAME_STEP and result.diverged.any():
            info |= {"diverged": result.diverged, "_diverged": result.diverged.copy()}
        if self._episodes.parameters and restarted.any():
            info |= self._parameters_info(np.flatnonzero(restarted))
        return info

    def _parameters_info(self, rows: np.ndarray) -> Info:
        """Return the parameters of episodes that begin."""
        parameters = self._episodes.parameters
        if not parameters:
            return {}
        begun = np.zeros(self.num_envs, dtype=np.bool_)
        begun[rows] = True
        values = {k: np.where(begun, v, np.zeros_like(v)) for k, v in parameters.items()}
        return {"domain_randomization": _masked(values, begun), "_domain_randomization": begun}

    def current_metrics(self) -> dict[str, np.ndarray]:
        """Return the metrics of the running episodes, as if they ended now. Shapes (N,)."""
        return self.task.metrics(self._episodes.sim(), self._episodes.task_state)

    def reward_term_names(self) -> tuple[str, ...]:
        """Return the names of the reward's terms; empty where the task does not name them."""
        if self._term_names is None:
            ctrl = np.zeros((self.num_envs, self.task.num_ctrl))
            reward = self.task.reward(self._episodes.sim(), ctrl, self._episodes.task_state)
            self._term_names = tuple(reward) if isinstance(reward, dict) else ()
        return self._term_names

    def ctrl_to_action(self, ctrl: np.ndarray) -> np.ndarray:
        """Return the actions that ask for a ctrl, or the nearest discrete ones.

        Args:
            ctrl: In [-1, 1]. Shape (N, num_ctrl).
        """
        return self._actions.nearest(ctrl)

    def mirrored(self, observation: Any, actions: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return observations and actions of the same world in a mirror, left for right.

        What leads from one observation to another leads from its mirror image to the other's. With
        discrete actions that is exact where the opposite of each ctrl is among the choices.

        Args:
            observation: Any number of them. Shape (B, ...), or a dict of such.
            actions: Any number of them. Shape (A, ...).

        Raises:
            ValueError: The task has no mirror.
        """
        return self.task.mirror_observation(observation), self._actions.mirrored(actions)

    def get_state(self) -> dict[str, np.ndarray]:
        """Return what ``set_state`` needs to go on exactly from here, but for pictures."""
        return self._episodes.get_state()

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go back to a state of environments made like these.

        Raises:
            ValueError: It is one of others; nothing has changed.
        """
        self._episodes.set_state(state)
        self._seeded = True

    def __deepcopy__(self, memo: dict[int, Any]) -> "RoboVectorEnv":
        """Return environments made alike, in the same state."""
        return _rebuild(*self.__reduce__()[1])

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Let ``pickle`` and ``copy`` make the environments again and restore their state."""
        state = self.get_state() if self._seeded else None
        return _rebuild, (type(self), copy.deepcopy(self._made_with), state, self._spec)

    def qpos_qvel(self) -> tuple[np.ndarray, np.ndarray]:
        """Return copies of all positions and velocities, shapes (N, positions), (N, velocities)."""
        return self._engine.qpos.copy(), self._engine.qvel.copy()

    def get_render_state(self) -> dict[str, np.ndarray]:
        """Return all that ``set_render_state`` draws, by name, shapes (N, ...).

        True until the next reset.
        """
        qpos, qvel = self.qpos_qvel()
        drawn = render_state(self.task, self._episodes.task_state)
        return {"qpos": qpos, "qvel": qvel, **drawn, **self._drawn_scales()}

    def _drawn_scales(self) -> dict[str, np.ndarray]:
        parameters = self._episodes.parameters
        fields = self.task.robot.randomizable
        return {f"{_SCALE}{name}": parameters[name] for name in fields if name in parameters}

    def set_render_state(
        self, state: Mapping[str, np.ndarray], *, new_episode: bool = False
    ) -> None:
        """Put all environments into states of ``get_render_state``, to be drawn.

        Args:
            state: What it returned.
            new_episode: They are the first of what is shown: no trajectory before is drawn.
        """
        task_state = {k: v for k, v in state.items() if not k.startswith(_SCALE)}
        qpos, qvel = task_state.pop("qpos"), task_state.pop("qvel")
        for name, values in state.items():
            if name.startswith(_SCALE):
                self._episodes.parameters[name.removeprefix(_SCALE)] = np.asarray(values)
        everyone = np.arange(self.num_envs)
        self._engine.reset(everyone, qpos, qvel, None)
        self._episodes.task_state = task_state
        if new_episode:
            self._frames.reset(everyone, qpos)
        else:
            self._frames.update(qpos)

    @property
    def task_state(self) -> TaskState:
        """What the task keeps of each episode; live, do not write. Shapes (N, ...)."""
        return self._episodes.task_state

    @property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """Randomized parameters of the episodes, by name; live, do not write. Shapes (N,)."""
        return self._episodes.parameters

    def robot_params(self, index: int) -> Robot:
        """Return the robot of environment ``index`` as it is in this episode."""
        return env_robot(self.task.robot, self._episodes.parameters, index)

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return a frame of every environment, uint8 of shape (height, width, 3).

        In mode 'human' env 0 is shown in a window instead and None is returned; so it is, with a
        warning, where the environment was made without a ``render_mode``.

        Raises:
            ResetNeeded: Before the first reset.
        """
        if self.render_mode is None:
            gym.logger.warn(
                "render() was called without a render_mode: make the environment with "
                "render_mode='rgb_array'."
            )
            return None
        if not self._seeded and not self._episodes.task_state:
            raise ResetNeeded("There is nothing to render before reset().")
        if self.render_mode == "rgb_array":
            return tuple(self._frame(i) for i in range(self.num_envs))
        if self._window is None:
            self._window = Window(*self._frames.size, fps=self.metadata["render_fps"])
        self._window.show(self._frame(0))
        return None

    def _frame(self, index: int) -> np.ndarray:
        robot, qpos = self.robot_params(index), self._engine.qpos[index]
        return self._frames.render(index, robot, qpos, self._episodes.task_state)

    @property
    def renderer_name(self) -> str | None:
        """What draws the frames; None until there is one."""
        return self._frames.name

    @property
    def caption_x(self) -> int:
        """Where frames have room for a caption at their upper edge, in pixels from the left."""
        return self._frames.caption_x

    def close_extras(self, **kwargs: Any) -> None:
        """Release the engine, the renderer and the window."""
        self._engine.close()
        self._frames.close()
        if self._window is not None:
            self._window.close()


def _report_diverged(engine_name: str, on_divergence: OnDivergence, diverged: np.ndarray) -> None:
    """Raise a SimulationError, or warn."""
    if on_divergence == "raise":
        env = int(diverged.argmax())
        raise SimulationError(f"{engine_name}: the state of env {env} is no longer finite.", env)
    warnings.warn(
        f"{engine_name}: the state of env {', '.join(map(str, np.flatnonzero(diverged)))} "
        "is no longer finite: its episode was truncated.",
        RuntimeWarning,
        stacklevel=4,
    )


def reseed(env: VectorEnv[Any, Any, Any], seed: Seed, num_envs: int) -> np.ndarray:
    """Seed the random numbers of an environment itself, and return the keys of its streams.

    Without a seed they follow from ``np_random_seed``, so that it can be used to go back there.

    Args:
        env: The environment.
        seed: As of ``reset``.
        num_envs: N.

    Raises:
        ValueError: Not a non-negative integer, or not one for each environment.
    """
    if seed is None:
        env._np_random = env._np_random_seed = None  # a new one from the operating system
        seed = env.np_random_seed
        assert seed is not None
    if isinstance(seed, Sequence | np.ndarray):
        listed = list(seed)
        keys = seed_keys(listed, num_envs, lambda: int(np.random.SeedSequence().entropy))  # type: ignore[arg-type]
        VectorEnv.reset(env, seed=int(keys[0]))
        return keys
    keys = seed_keys(seed, num_envs, lambda: 0)
    VectorEnv.reset(env, seed=int(seed))
    return keys


def _rebuild(
    cls: type[RoboVectorEnv],
    made_with: dict[str, Any],
    state: Mapping[str, np.ndarray] | None,
    spec: Any,
) -> RoboVectorEnv:
    """Return environments made again, in a state."""
    envs = cls(**made_with)
    envs.spec = spec
    if state is not None:
        envs.set_state(state)
    return envs


def _masked(values: Mapping[str, np.ndarray], mask: np.ndarray) -> Info:
    """Return values, each with a mask of the environments they are of."""
    info: Info = {}
    for name, part in values.items():
        info[name], info[f"_{name}"] = part, mask.copy()
    return info


def _rows(observation: Any, mask: np.ndarray) -> np.ndarray:
    """Return the observation of each environment of a mask, else None. Object array of (N,)."""
    rows = np.full(len(mask), None, dtype=object)
    ended = np.flatnonzero(mask)
    taken = tree_map(lambda part: part[ended], observation)
    for k, env in enumerate(ended.tolist()):
        rows[env] = tree_map(lambda part, k=k: part[k], taken)
    return rows
