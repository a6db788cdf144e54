"""Stable-Baselines3 on our batches: the only importer of ``stable_baselines3``."""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Protocol, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from robolearn.accelerate import choose_device, threads
from robolearn.baselines.rows import Algorithm, SB3Row, row_for
from robolearn.baselines.servable import require_servable
from robolearn.environments import SEED_SPACING, EnvConfig
from robolearn.errors import RobolearnError

Model: TypeAlias = A2C | DQN | PPO
"""What SB3 can learn with here."""


class Preload(Protocol):
    """S demonstrated steps, one after the other."""

    @property
    def obs(self) -> np.ndarray:
        """What was acted on. Shape (S, D)."""
        ...

    @property
    def action(self) -> np.ndarray:
        """Shape (S,)."""
        ...

    @property
    def reward(self) -> np.ndarray:
        """Shape (S,)."""
        ...

    @property
    def next_obs(self) -> np.ndarray:
        """What the step reached. Shape (S, D)."""
        ...

    @property
    def terminated(self) -> np.ndarray:
        """Shape (S,), bool."""
        ...

    @property
    def done(self) -> np.ndarray:
        """Shape (S,), bool."""
        ...


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


class SB3Agent:
    """A trained SB3 model."""

    def __init__(self, model: Model, normaliser: VecNormalize | None, wall_s: float) -> None:
        """Hold a model and the statistics its observations were normalised with."""
        self.model = model
        self._normaliser = normaliser
        self.wall_s = wall_s
        """Seconds of training, making the environments included."""

    @property
    def steps(self) -> int:
        """Environment steps made; SB3 finishes the rollout it is in."""
        return self.model.num_timesteps

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Return actions for one observation or a batch; SB3's own signature."""
        if self._normaliser is not None:
            observation = self._normaliser.normalize_obs(observation)
        return self.model.predict(observation, state, episode_start, deterministic)


def train_sb3(
    algorithm: Algorithm,
    env: EnvConfig,
    steps: int,
    seed: int,
    *,
    hyper: SB3Row | None = None,
    device: str = "cpu",
    cores: int = 1,
    watch: Callable[[SB3Agent], bool] | None = None,
    preload: Preload | None = None,
) -> SB3Agent:
    """Train with SB3, on one CPU thread as our agents do, and without a word from it.

    Args:
        algorithm: 'a2c', 'dqn' or 'ppo'.
        env: Where to learn.
        steps: Environment steps, at least 1; SB3 finishes the rollout it is in.
        seed: Fixes everything random.
        hyper: Hyper-parameters; None for the frozen ones of this environment.
        device: 'auto', 'cpu' or 'cuda'.
        cores: CPU threads of the networks.
        watch: Sees the agent after each update; False ends the training.
        preload: Demonstrations to begin with in the replay memory, of DQN with one environment.

    Raises:
        RobolearnError: No steps, demonstrations for another algorithm, or an environment or device
            that SB3 cannot use.
    """
    if steps < 1:
        raise RobolearnError(f"steps must be at least 1, got {steps}.")
    require_servable(algorithm, env)
    row = hyper or row_for(algorithm, env.id)
    start = time.perf_counter()
    envs = SB3VecEnv(env.make_vec(row.num_envs))
    try:
        with threads(cores), _known_warnings():
            model, normaliser = _build(algorithm, envs, row, steps, seed, device)
            envs.seed(SEED_SPACING * seed)  # as our agents: seeds 0, 1, ... share no stream
            if preload is not None:
                _preload(model, preload)
            seen = SB3Agent(model, normaliser, 0.0)
            model.learn(steps, callback=_Watch(seen, watch) if watch else None)
    finally:
        envs.close()
    return SB3Agent(model, normaliser, time.perf_counter() - start)


class _Watch(BaseCallback):
    """Shows the agent around after each update."""

    def __init__(self, agent: SB3Agent, watch: Callable[[SB3Agent], bool]) -> None:
        super().__init__()
        self._agent, self._watch, self._go_on = agent, watch, True

    def _on_rollout_start(self) -> None:  # after an update; ends can be told at a step only
        if self._agent.steps:
            self._go_on = self._watch(self._agent)

    def _on_step(self) -> bool:
        return self._go_on


def _build(
    algorithm: Algorithm, envs: SB3VecEnv, row: SB3Row, steps: int, seed: int, device: str
) -> tuple[Model, VecNormalize | None]:
    arguments: dict[str, Any] = deepcopy(dict(row.arguments))
    if "n_steps" in arguments:
        # A rollout longer than all of learning would break the budget,
        # and PPO refuses one of a single step, which has no advantage to normalise.
        longest = math.ceil(max(steps, 2) / envs.num_envs)
        arguments["n_steps"] = min(arguments["n_steps"], longest)
    normaliser = None
    if row.normalise and isinstance(envs.observation_space, spaces.Box | spaces.Dict):
        normaliser = VecNormalize(envs, gamma=arguments["gamma"])
    policy = "MultiInputPolicy" if isinstance(envs.observation_space, spaces.Dict) else "MlpPolicy"
    model = {"a2c": A2C, "dqn": DQN, "ppo": PPO}[algorithm](
        policy, normaliser or envs, seed=seed, device=choose_device(device), **arguments
    )
    model.set_logger(Logger(folder=None, output_formats=[]))  # the default makes a folder in /tmp
    return model, normaliser


def _preload(model: Model, preload: Preload) -> None:
    """Put demonstrations into a replay memory, which they must fit into with room to spare."""
    memory = model.replay_buffer if isinstance(model, DQN) else None
    if memory is None or model.n_envs != 1:
        raise RobolearnError("Only DQN with one environment can begin with demonstrations.")
    timed_out = preload.done & ~preload.terminated
    for k in range(len(preload.reward)):
        one = slice(k, k + 1)
        memory.add(
            preload.obs[one],
            preload.next_obs[one],
            preload.action[one],
            preload.reward[one],
            preload.done[one],
            [{"TimeLimit.truncated": bool(timed_out[k])}],
        )


@contextmanager
def _known_warnings() -> Iterator[None]:
    """Silence SB3's advice on settings that are chosen on purpose here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You have specified a mini-batch size", UserWarning)
        warnings.filterwarnings("ignore", "You are trying to run (A2C|PPO) on the GPU", UserWarning)
        yield
