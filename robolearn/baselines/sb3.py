"""Training with Stable-Baselines3: with ``sb3_view`` the only importer of it."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecEnvWrapper,
    VecNormalize,
)
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from robolearn.accelerate import choose_device, threads
from robolearn.baselines.rows import Algorithm, SB3Row, row_for
from robolearn.baselines.sb3_view import SB3VecEnv
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


class SB3Agent:
    """An SB3 model that learns, or has learned."""

    def __init__(
        self, model: Model, normalizer: VecNormalize | None, seconds: dict[str, float]
    ) -> None:
        """Hold a model, the statistics its observations were normalized with, and its times."""
        self.model = model
        self._normalizer = normalizer
        self._seconds = seconds
        self.wall_s = 0.0
        """Seconds of training, making the environments included, being watched not."""

    def time_split(self) -> dict[str, float]:
        """Return seconds of learning so far spent in 'env' and in 'update'; the rest is acting."""
        return dict(self._seconds)

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
        return self.model.predict(self._seen(observation), state, episode_start, deterministic)

    def _seen(self, observation: Any) -> Any:
        """Return observations as the model sees them."""
        if self._normalizer is None:
            return observation
        return self._normalizer.normalize_obs(observation)

    def value(self, observation: Any, state: Any = None) -> np.ndarray | None:
        """Return V of N observations, in units of reward, shape (N,); None of DQN."""
        policy = self.model.policy
        if not isinstance(policy, ActorCriticPolicy):
            return None
        with torch.inference_mode():
            seen, _ = policy.obs_to_tensor(self._seen(observation))
            value = policy.predict_values(seen).squeeze(-1).cpu().numpy()
        return value if self._normalizer is None else self._normalizer.unnormalize_reward(value)

    def q_values(self, observation: Any) -> np.ndarray | None:
        """Return Q of N observations, in units of reward, shape (N, actions); None but of DQN."""
        if not isinstance(self.model, DQN):
            return None
        with torch.inference_mode():
            seen, _ = self.model.policy.obs_to_tensor(self._seen(observation))
            return self.model.q_net(seen).cpu().numpy()

    def action_probabilities(self, observation: Any, state: Any = None) -> np.ndarray | None:
        """Return how likely each action is, shape (N, A); None of DQN and of continuous ones."""
        policy = self.model.policy
        if not isinstance(policy, ActorCriticPolicy):
            return None
        with torch.inference_mode():
            seen, _ = policy.obs_to_tensor(self._seen(observation))
            chosen = policy.get_distribution(seen)
            if not isinstance(chosen, CategoricalDistribution):
                return None
            return chosen.distribution.probs.cpu().numpy()


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
    batch: bool = True,
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
        watch: Sees the agent before it learns and after each update; False ends the training.
        preload: Demonstrations to begin with in the replay memory, of DQN with one environment.
        batch: Let it see a batch of ours; else single environments behind a DummyVecEnv with a
            Monitor each, as people who use SB3 would have them.

    Raises:
        RobolearnError: No steps, demonstrations for another algorithm, or an environment or device
            that SB3 cannot use.
    """
    if steps < 1:
        raise RobolearnError(f"steps must be at least 1, got {steps}.")
    require_servable(algorithm, env)
    row = (hyper or row_for(algorithm, env.id)).within(steps)
    began, seconds = time.perf_counter(), {"env": 0.0, "update": 0.0}
    envs = _Timed(_make(env, row.num_envs, batch=batch), seconds)
    try:
        with threads(cores), _known_warnings():
            model, normalizer = _build(algorithm, envs, row, seed, device)
            envs.seed(SEED_SPACING * seed)  # as our agents: seeds 0, 1, ... share no stream
            if preload is not None:
                _preload(model, preload)
            agent = SB3Agent(model, normalizer, seconds)
            model.learn(steps, callback=_Watch(agent, seconds, began, watch))
    finally:
        envs.close()
    return agent


def _make(env: EnvConfig, num_envs: int, *, batch: bool) -> VecEnv:
    if batch:
        return SB3VecEnv(env.make_vec(num_envs))
    return DummyVecEnv([lambda: Monitor(env.make())] * num_envs)


class _Timed(VecEnvWrapper):
    """Takes the time that environments need for their steps."""

    def __init__(self, envs: VecEnv, seconds: dict[str, float]) -> None:
        super().__init__(envs)
        self._seconds = seconds

    def reset(self) -> VecEnvObs:
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        began = time.perf_counter()
        result = self.venv.step_wait()
        self._seconds["env"] += time.perf_counter() - began
        return result


class _Watch(BaseCallback):
    """Takes the time of updates, and shows the agent around after each."""

    def __init__(
        self,
        agent: SB3Agent,
        seconds: dict[str, float],
        began: float,
        watch: Callable[[SB3Agent], bool] | None,
    ) -> None:
        super().__init__()
        self._agent, self._seconds, self._watch, self._go_on = agent, seconds, watch, True
        self._began = began
        self._update_began: float | None = None

    def _on_rollout_end(self) -> None:
        self._update_began = time.perf_counter()

    def _on_rollout_start(self) -> None:  # after an update; ends can be told at a step only
        self._note()
        if self._watch is not None:
            before = time.perf_counter()
            self._go_on = self._watch(self._agent)
            self._began += time.perf_counter() - before

    def _on_training_end(self) -> None:
        self._note()

    def _on_step(self) -> bool:
        return self._go_on

    def _note(self) -> None:
        now = time.perf_counter()
        self._agent.wall_s = now - self._began
        if self._update_began is not None:
            self._seconds["update"] += now - self._update_began
            self._update_began = None


def _build(
    algorithm: Algorithm, envs: VecEnv, row: SB3Row, seed: int, device: str
) -> tuple[Model, VecNormalize | None]:
    arguments: dict[str, Any] = deepcopy(dict(row.arguments))
    normalizer = None
    if row.normalize and isinstance(envs.observation_space, spaces.Box | spaces.Dict):
        normalizer = VecNormalize(envs, gamma=arguments["gamma"])
    policy = "MultiInputPolicy" if isinstance(envs.observation_space, spaces.Dict) else "MlpPolicy"
    model = {"a2c": A2C, "dqn": DQN, "ppo": PPO}[algorithm](
        policy, normalizer or envs, seed=seed, device=choose_device(device), **arguments
    )
    model.set_logger(Logger(folder=None, output_formats=[]))  # the default makes a folder in /tmp
    return model, normalizer


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
