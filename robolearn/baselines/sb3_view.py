"""Our batches of environments as Stable-Baselines3 sees them."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from robolearn.errors import RobolearnError


class SB3VecEnv(VecEnv):
    """A Gymnasium vector environment as SB3 sees one: the same batch, nothing per environment.

    An episode's end carries what SB3 (and its Monitor) would put into the info:
    ``terminal_observation``, ``TimeLimit.truncated``, ``episode`` and, where the environment
    tells it, ``is_success``. All other infos are empty.
    """

    def __init__(self, envs: VectorEnv) -> None:
        """View ``envs``, which this then owns.

        Raises:
            RobolearnError: The environments do not reset in the step that ends an episode.
        """
        mode = AutoresetMode(envs.metadata["autoreset_mode"])
        if mode is not AutoresetMode.SAME_STEP:
            raise RobolearnError(
                f"SB3 needs autoreset_mode=SAME_STEP, got {mode.name}. "
                "Make the environments with EnvConfig.make_vec(num_envs)."
            )
        self.envs = envs
        base = envs.unwrapped
        self._singles = base.envs if isinstance(base, SyncVectorEnv) else None
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)
        self._actions: np.ndarray | None = None
        self._begin()

    def _begin(self) -> None:
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)
        self._start = time.perf_counter()

    def reset(self) -> VecEnvObs:
        """Start new episodes, seeded as ``seed`` said since the last reset."""
        seeds: Any = self._seeds if self._seeds[0] is not None else None  # a list is allowed
        observation, _ = self.envs.reset(seed=seeds)
        self._reset_seeds()
        self._begin()
        return observation

    def step_async(self, actions: np.ndarray) -> None:
        """Take note of the actions. Shape (N, ...)."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Advance all environments.

        Returns:
            Observations, rewards (N,) float32, done (N,), and an info per environment.
        """
        observation, reward, terminated, truncated, info = self.envs.step(self._actions)
        done = terminated | truncated
        self._returns += reward
        self._lengths += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            self._finish(infos, done, truncated & ~terminated, info)
        return observation, reward.astype(np.float32), done, infos

    def _finish(
        self,
        infos: list[dict[str, Any]],
        done: np.ndarray,
        timed_out: np.ndarray,
        info: Mapping[str, Any],
    ) -> None:
        """Fill the infos of ended episodes."""
        elapsed = time.perf_counter() - self._start
        success = info["final_info"].get("success")
        for i in np.flatnonzero(done):
            episode = {"r": float(self._returns[i]), "l": int(self._lengths[i]), "t": elapsed}
            infos[i]["terminal_observation"] = info["final_obs"][i]
            infos[i]["TimeLimit.truncated"] = bool(timed_out[i])
            infos[i]["episode"] = episode
            if success is not None:
                infos[i]["is_success"] = bool(success[i])
        self._returns[done] = 0.0
        self._lengths[done] = 0

    def set_options(self, options: list[dict] | dict | None = None) -> None:
        """Refuse options: a batch is not reset with some for each environment.

        Raises:
            NotImplementedError: There are some.
        """
        if options:
            raise NotImplementedError(f"A batch takes no reset options, got {options}.")

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return a frame of every environment."""
        frames: Any = self.envs.render()
        return [None] * self.num_envs if frames is None else frames

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of each environment; all of a native batch share the batch's."""
        chosen = self._get_indices(indices)
        if self._singles is not None:
            return [self._singles[i].get_wrapper_attr(attr_name) for i in chosen]
        of_one = attr_name in ("observation_space", "action_space")
        attribute = getattr(self.envs, f"single_{attr_name}" if of_one else attr_name)
        return [attribute for _ in chosen]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of each environment, or of the whole native batch.

        Raises:
            NotImplementedError: Of a part of a native batch.
        """
        chosen = list(self._get_indices(indices))
        if self._singles is not None:
            for i in chosen:
                self._singles[i].set_wrapper_attr(attr_name, value)
            return
        if sorted(chosen) != list(range(self.num_envs)):
            raise NotImplementedError(
                f"A native batch is one object: '{attr_name}' cannot be set for {chosen} alone."
            )
        setattr(self.envs, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Call a method of each environment; a native batch's is called once, for all."""
        chosen = list(self._get_indices(indices))
        if self._singles is None:
            result = getattr(self.envs, method_name)(*method_args, **method_kwargs)
            return [result] * len(chosen)
        methods = [self._singles[i].get_wrapper_attr(method_name) for i in chosen]
        return [method(*method_args, **method_kwargs) for method in methods]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Return whether environments behave as if wrapped; as by Monitor all of them do."""
        if wrapper_class is Monitor or self._singles is None:
            return [wrapper_class is Monitor for _ in self._get_indices(indices)]
        return [is_wrapped(self._singles[i], wrapper_class) for i in self._get_indices(indices)]
