"""N environments on a torch device: nothing of a step is seen, or waited for, by the host."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from robolearn_envs.actions import Actions
from robolearn_envs.config import DomainRandomization
from robolearn_envs.core.backend import tree_map
from robolearn_envs.core.episodes import Episodes, StepResult
from robolearn_envs.core.rng import Seed
from robolearn_envs.core.setup import set_up
from robolearn_envs.core.torch_backend import TorchBackend
from robolearn_envs.engines import make_engine
from robolearn_envs.names import did_you_mean
from robolearn_envs.registry import action_kind
from robolearn_envs.rendering.scene_state import render_state
from robolearn_envs.tasks.base import ActionKind, Task, TaskState
from robolearn_envs.vector import RoboVectorEnv, reseed

Observation: TypeAlias = Any
"""A tensor of shape (N, ...), or a dict of them."""

_HOST_ONLY = {
    "render_mode": None,
    "view": None,
    "width": None,
    "height": None,
    "num_threads": 1,
    "bullet_damping": False,
    "on_divergence": "truncate",
}
"""Keywords of environments on the host, with the values that mean nothing here."""


class TorchVectorEnv(VectorEnv[Any, Any, Any]):
    """The environments of ``RoboVectorEnv``, on tensors.

    Same tasks, streams and rules: env i has the episodes there of the single env seeded
    ``seed + i``, whatever the batch it is in. Where the host would look which episodes have
    ended, here all begin a new one and it is kept where that is so; so a step has one shape,
    never waits for its device, and can be captured in a CUDA graph. Observations, rewards and flags
    are tensors; state is kept in the same storage for ever. An environment whose simulation
    diverges is truncated, as with ``on_divergence="truncate"``. Gymnasium's vector wrappers that
    compute with NumPy refuse tensors.

    Discrete actions beyond those there are count as the last, as continuous ones beyond +-1 do.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    # An autoreset mode in the spec is a string, and copies are made anew, as on the host.
    spec: Any = RoboVectorEnv.spec
    _spec: Any = None
    __deepcopy__: Any = RoboVectorEnv.__deepcopy__
    __reduce__: Any = RoboVectorEnv.__reduce__

    def __init__(
        self,
        env_id: str,
        num_envs: int = 1,
        *,
        engine: str = "torch",
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        compile_step: bool = False,
        action: ActionKind | None = None,
        domain_randomization: DomainRandomization = 0.0,
        action_delay: int = 0,
        reward_weights: Mapping[str, float] | None = None,
        ctrl_limit: float = 1.0,
        timestep: float | None = None,
        frame_skip: int | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **task_options: Any,
    ) -> None:
        """Build the environments.

        Args:
            env_id: Id of a registered task.
            num_envs: N.
            engine: 'torch', the closed form, or 'warp', MuJoCo Warp.
            device: A torch device.
            dtype: Of the closed form's state; rewards and observations are float32.
            compile_step: Compile the step into few kernels by ``torch.compile``: the first one
                takes half a minute. Closed form only; numbers may differ in the last places.
            action: As of ``RoboVectorEnv``, as are those that follow.
            domain_randomization: As of ``RoboVectorEnv``.
            action_delay: As of ``RoboVectorEnv``.
            reward_weights: As of ``RoboVectorEnv``.
            ctrl_limit: As of ``RoboVectorEnv``.
            timestep: As of ``RoboVectorEnv``.
            frame_skip: As of ``RoboVectorEnv``.
            max_episode_steps: As of ``RoboVectorEnv``.
            autoreset_mode: What happens after an episode's end, as Gymnasium defines it. Under
                DISABLED an ended environment goes on, without rewards, until it is reset.
            **task_options: What the task takes.

        Raises:
            ValueError: An unknown name, or a combination that cannot be.
            TypeError: No such keyword.
            ImportError: The engine is not installed.
        """
        self._made_with = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self._made_with |= self._made_with.pop("task_options")
        for name, neutral in _HOST_ONLY.items():
            if name in task_options and task_options.pop(name) not in (neutral, None):
                raise ValueError(
                    f"{name} is for environments on the host, got engine='{engine}'. Leave it out."
                )
        if compile_step and engine != "torch":
            raise ValueError(f"Only engine='torch' can be compiled, got engine='{engine}'.")
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
        self.task: Task = setup.task
        self.env_id, self.engine_name, self.num_envs = env_id, setup.engine_name, num_envs
        self.device = torch.device(device)
        options: dict[str, Any] = {"device": self.device}
        if engine == "torch":
            options["dtype"] = dtype
        self._engine = make_engine(engine, self.task.robot, self.task.timestep, num_envs, **options)
        self.task.set_device(self.device)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.render_mode = None
        fps = round(1 / (self.task.timestep * self.task.frame_skip))
        self.metadata = {
            **type(self).metadata,
            "render_fps": max(fps, 1),
            "autoreset_mode": self.autoreset_mode,
        }
        kind = action_kind(self.task, action)
        self.single_observation_space = self.task.observation_space
        self.single_action_space = Actions(self.task, kind).space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        discrete = kind == "discrete"
        self._discrete_actions = (
            torch.tensor(self.task.discrete_actions, dtype=dtype, device=self.device)
            if discrete
            else None
        )
        self._dtype = dtype
        self._episodes = Episodes(
            setup,
            self._engine,
            num_envs,
            TorchBackend(self.device),
            self.autoreset_mode,
            dtype=dtype,
        )
        self._recorded: slice | None = None
        self._simulated: tuple[Tensor, ...] = ()
        self._seeded = False
        self.step_fn: Callable[[Tensor], StepResult] = (
            torch.compile(self._step, fullgraph=True, dynamic=False) if compile_step else self._step
        )
        """Advance every environment by one step, given actions of shape (N, ...)."""

    def reset(
        self, *, seed: Seed = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start new episodes in all environments, or in those of ``options["reset_mask"]``.

        Args:
            seed: Env i is seeded ``seed + i``, or ``seed[i]``; None goes on with each env's
                stream (or, the first time, seeds from the operating system).
            options: ``"reset_mask"``, bool of shape (N,), resets only some; other keys are the
                task's, for all that are reset.

        Returns:
            Observations of all environments, shape (N, ...), and the parameters of the episodes
            in ``info["domain_randomization"]``, if they are randomized.

        Raises:
            ValueError: Seeds or mask of another shape, or an option the task cannot grant.
        """
        wanted = {key: value for key, value in (options or {}).items() if key != "reset_mask"}
        for name in wanted:
            if name not in self.task.reset_options:
                known = (*self.task.reset_options, "reset_mask")
                raise ValueError(did_you_mean("option of reset", str(name), known))
        mask = self._reset_mask(options)
        episodes = self._episodes
        counters = episodes.rng_keys.clone(), episodes.episode_index.clone(), self._seeded
        carry_over = seed is None and self._seeded
        if carry_over:
            episodes.episode_index += mask
        else:
            begun = self._seeded
            self._seed(seed, mask)
            mask = mask if begun else torch.ones_like(mask)
        with torch.no_grad():
            try:
                episodes.begin(mask, carry_over=carry_over, options=wanted)
            except ValueError:  # refused before anything was started
                episodes.rng_keys.copy_(counters[0])
                episodes.episode_index.copy_(counters[1])
                self._seeded = counters[2]
                raise
            return episodes.observe(), self._parameters_info(mask)

    def _reset_mask(self, options: dict[str, Any] | None) -> Tensor:
        if not options or "reset_mask" not in options:
            return torch.ones_like(self._episodes.needs_reset)
        mask = torch.as_tensor(options["reset_mask"], device=self.device)
        if mask.shape != (self.num_envs,) or mask.dtype != torch.bool:
            raise ValueError(
                f"options['reset_mask'] must be bool of shape ({self.num_envs},), got "
                f"{mask.dtype} of shape {tuple(mask.shape)}."
            )
        return mask

    def _seed(self, seed: Seed, mask: Tensor) -> None:
        episodes = self._episodes
        if isinstance(seed, Tensor):
            seed = seed.cpu().numpy()
        new = torch.from_numpy(reseed(self, seed, self.num_envs)).to(self.device)
        named = mask if self._seeded else torch.ones_like(mask)  # none is left without one
        episodes.rng_keys.copy_(torch.where(named, new, episodes.rng_keys))
        episodes.episode_index *= ~mask
        self._seeded = True

    def set_episode_lengths(self, lengths: Tensor) -> None:
        """Truncate the running episodes when they have these lengths. Shape (N,), int64, steps."""
        self._episodes.episode_length.copy_(lengths)

    @property
    def episode_lengths(self) -> Tensor:
        """Steps at which the running episodes are truncated; live, do not write. Shape (N,)."""
        return self._episodes.episode_length

    def step(self, actions: Any) -> tuple[Observation, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Advance every environment by one step.

        Args:
            actions: A tensor, or what can become one, shape (N, num_ctrl) in [-1, 1], or (N,)
                integer.

        Returns:
            Tensors: observations (N, ...), rewards (N,), terminated (N,), truncated (N,); and info
            as of ``RoboVectorEnv``, but that every key is always there: where no episode has
            ended, its numbers are 0 and its mask is False; and ``final_obs`` is a batch.

        Raises:
            ValueError: Actions of another shape or type.
            ResetNeeded: Before the first reset.
        """
        actions = torch.as_tensor(actions, device=self.device)
        shape = (self.num_envs, *(self.single_action_space.shape or ()))
        if actions.shape != shape:
            raise ValueError(f"Actions must have shape {shape}, got {tuple(actions.shape)}.")
        whole = not (actions.is_floating_point() or actions.dtype == torch.bool)
        if self._discrete_actions is not None and not whole:
            raise ValueError(f"Discrete actions must be integers, got {actions.dtype}.")
        if not self._seeded:
            raise ResetNeeded("No environment has a running episode: call reset() first.")
        was_done = self._episodes.needs_reset.clone()
        with torch.no_grad():
            result = self.step_fn(actions)
        return (
            result.obs,
            result.reward,
            result.terminated,
            result.truncated,
            self._info(result, was_done),
        )

    def _info(self, result: StepResult, was_done: Tensor) -> dict[str, Any]:
        """Return the info of a step."""
        done = (result.terminated | result.truncated) & ~was_done
        values = {**result.metrics, "is_success": result.metrics["success"]}
        values["diverged"] = result.diverged
        ended = {k: torch.where(done, v, torch.zeros_like(v)) for k, v in values.items()}
        metrics = _masked(ended, done)
        info: dict[str, Any] = {}
        if result.reward_terms:
            everyone = torch.ones_like(done)
            info["reward_terms"] = _masked(result.reward_terms, everyone)
            info["_reward_terms"] = everyone
        begun = was_done
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            begun = done
            info |= {
                "final_obs": tree_map(lambda part: _kept_where(done, part), result.final_obs),
                "_final_obs": done,
                "final_info": metrics,
                "_final_info": done,
                "diverged": result.diverged,
                "_diverged": result.diverged,
            }
        else:
            info |= metrics
        return info | self._parameters_info(begun)

    def _parameters_info(self, begun: Tensor) -> dict[str, Any]:
        """Return the parameters of episodes that begin."""
        if not self._episodes.parameters:
            return {}
        values = {
            name: torch.where(begun, part, torch.zeros_like(part))
            for name, part in self._episodes.parameters.items()
        }
        return {"domain_randomization": _masked(values, begun), "_domain_randomization": begun}

    def _step(self, actions: Tensor) -> StepResult:
        if self._discrete_actions is None:
            ctrl = actions.to(self._dtype).clamp(-1.0, 1.0)
        else:
            last = len(self._discrete_actions) - 1
            ctrl = self._discrete_actions[actions.to(torch.int64).clamp(0, last)]
        before = self._recorded_rows()
        result = self._episodes.step(ctrl)
        terms = {name: term.to(torch.float32) for name, term in result.reward_terms.items()}
        return result._replace(
            reward=result.reward.to(torch.float32),
            reward_terms=terms,
            render_states=(*before, *self._simulated),
        )

    def get_state(self) -> dict[str, np.ndarray]:
        """Return what ``set_state`` needs to go on exactly from here."""
        return self._episodes.get_state()

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go back to a state of environments made like these.

        Raises:
            ValueError: It is one of others; nothing has changed.
        """
        if not self._seeded:
            self.reset(seed=0)  # so that there is something to write into
        self._episodes.set_state(state)

    def qpos_qvel(self) -> tuple[Tensor, Tensor]:
        """Return copies of all positions and velocities, shapes (N, positions), (N, velocities)."""
        return self._engine.qpos.clone(), self._engine.qvel.clone()

    def get_render_state(self) -> dict[str, Tensor]:
        """Return all that ``RoboVectorEnv.set_render_state`` draws, by name; live, (N, ...)."""
        episodes, fields = self._episodes, self.task.robot.randomizable
        state = render_state(self.task, episodes.task_state)
        scales = {f"scale.{k}": episodes.parameters[k] for k in fields if k in episodes.parameters}
        return {"qpos": self._engine.qpos, "qvel": self._engine.qvel, **state, **scales}

    def record_render_states(self, rows: slice | None) -> None:
        """Let steps return what there is to draw of some environments; None for nothing.

        It is what ``get_render_state`` returns of them, flat and side by side:
        ``StepResult.render_states``.
        """
        self._recorded, self._simulated = rows, ()
        self._episodes.on_simulated = None if rows is None else self._record_simulated

    def _recorded_rows(self) -> tuple[Tensor, ...]:
        """Return what there is to draw of recorded environments now; nothing where none is."""
        if self._recorded is None:
            return ()
        parts = [rows[self._recorded] for rows in self.get_render_state().values()]
        return (torch.cat([part.reshape(len(part), -1) for part in parts], dim=1),)

    def _record_simulated(self) -> None:
        self._simulated = self._recorded_rows()

    @property
    def task_state(self) -> TaskState:
        """What the task keeps of each episode; live, do not write. Shapes (N, ...)."""
        return self._episodes.task_state

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """Randomized parameters of the episodes, by name; live, do not write. Shapes (N,)."""
        return self._episodes.parameters

    def close_extras(self, **kwargs: Any) -> None:
        """Release the engine."""
        self._engine.close()


def _kept_where(mask: Tensor, part: Tensor) -> Tensor:
    """Return rows of a mask, zeros elsewhere."""
    return torch.where(mask.view(-1, *([1] * (part.ndim - 1))), part, torch.zeros_like(part))


def _masked(values: Mapping[str, Tensor], mask: Tensor) -> dict[str, Any]:
    """Return values, each with a mask of the environments they are of."""
    info: dict[str, Any] = {}
    for name, part in values.items():
        info[name], info[f"_{name}"] = part, mask
    return info
