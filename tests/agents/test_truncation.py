"""The value at a time limit is that of the state reached: not of the state left, nor of a reset.

``probe_env.Walk`` has values known exactly. Rewards 1, 0, 0 on leaving states 0, 1, 2 for ever give
V(0) = 1 + g^3 V(0), so V(0) = 1 / (1 - g^3), V(1) = g^2 V(0) and V(2) = g V(0). The limit at every
fifth step, 1 -> 2, changes nothing of that if it is no death. Bootstrapping from the state left
(V(1)) or from the reset (V(0)) instead would move all three by several percent.
"""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from probe_env import ALL_STATES, MODES, Walk

from robolearn.agents.dqn import DQN, DQNConfig
from robolearn.agents.ppo import PPO, PPOConfig, gae
from robolearn.buffers.rollout_buffer import RolloutBuffer, counted
from robolearn.collect.collector import Collector
from robolearn.environments import EnvConfig

GAMMA = 0.8
V0 = 1 / (1 - GAMMA**3)
ENDLESS = np.array([V0, GAMMA**2 * V0, GAMMA * V0])

every_mode = pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])

PPO_PROBE = PPOConfig(
    num_envs=4, n_steps=50, batch_size=200, n_epochs=8, gamma=GAMMA, learning_rate=3e-3
)
DQN_PROBE = DQNConfig(
    num_envs=4,
    n_step=3,
    double_q=True,
    layer_norm=True,
    lr_schedule="linear",
    gamma=GAMMA,
    hidden_sizes=(32,),
    learning_rate=3e-3,
    batch_size=64,
    learning_starts=200,
    buffer_size=4_000,
    gradient_steps=4,
    target_update_interval=100,
)


def learned(agent_class, config, steps, mode, **options):
    """Return what an agent says of the three states after learning."""
    agent = agent_class(Walk(mode, **options), config, seed=0).learn(steps)
    agent.close()
    return agent.value(ALL_STATES) if agent_class is PPO else agent.q_values(ALL_STATES)


@pytest.mark.slow
@every_mode
def test_ppo_learns_the_values_of_an_endless_walk_cut_by_a_time_limit(mode):
    values = learned(PPO, PPO_PROBE, 10_000, mode)
    np.testing.assert_allclose(values, ENDLESS, rtol=0.01)


@pytest.mark.slow
@every_mode
def test_dqn_learns_the_values_of_an_endless_walk_cut_by_a_time_limit(mode):
    q_values = learned(DQN, DQN_PROBE, 4_000, mode)
    # Actions do nothing, so both are worth what the state is.
    np.testing.assert_allclose(q_values, np.stack([ENDLESS, ENDLESS], axis=1), rtol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("agent_class", "config"), [(PPO, PPO_PROBE), (DQN, DQN_PROBE)])
def test_a_constant_reward_cut_by_a_time_limit_is_worth_the_whole_series(agent_class, config):
    # Reward 1 for ever is worth 1 / (1 - 0.8) = 5; taking the limit for death, 1 at the last step.
    mode = AutoresetMode.SAME_STEP
    values = learned(agent_class, config, 4_000, mode, rewards=(1.0, 1.0, 1.0))
    np.testing.assert_allclose(values, 5.0, rtol=0.01)


@pytest.mark.slow
def test_ppo_values_a_terminal_step_at_its_reward_alone():
    # Reward 1 on leaving state 1 only; the walk 0 1 2 0 1 and then death. A step from state 1 is in
    # mid-episode half the time (worth 1 + g^3) and half the time the last one (worth 1):
    # V(1) = 1 + g^3 / 2. State 0 comes one step before either, also half and half.
    values = learned(
        PPO,
        PPO_PROBE,
        20_000,
        AutoresetMode.SAME_STEP,
        rewards=(0.0, 1.0, 0.0),
        terminates=True,
    )
    v1 = 1 + GAMMA**3 / 2
    np.testing.assert_allclose(values[:2], [GAMMA * v1, v1], rtol=0.02)


# The bootstrap target itself, exactly.


def collected(envs, seed, steps, policy):
    """Return a rollout of ``steps`` rows and the collector after it."""
    collector = Collector(envs, seed)
    buffer = RolloutBuffer(envs.num_envs, 0, torch.device("cpu"))
    buffer.begin(torch.empty(steps, envs.num_envs))
    for _ in range(steps):
        obs, start = collector.observe()
        action = torch.from_numpy(policy(obs.numpy()))
        buffer.add(start, buffer.latent, action, collector.advance(action))
    rollout = buffer.finish()
    envs.close()
    return rollout


def linear_value(obs):
    """A value by which no two states of the tests are alike. Shape (...) for (..., D)."""
    return obs @ torch.arange(1.0, obs.shape[-1] + 1)


def targets(rollout):
    """Return what a step reached is valued at, and its advantage. Shapes (T, N)."""
    value, reached = linear_value(rollout.obs), linear_value(rollout.next_obs)
    flags = rollout.terminated, rollout.done
    return reached, gae(rollout.reward, value, reached, *flags, gamma=0.9, lam=0.8)


@every_mode
def test_the_bootstrap_at_a_time_limit_is_the_value_of_the_state_reached(mode):
    envs = Walk(mode, num_envs=1, staggered=False)
    rollout = collected(envs, 0, 13, lambda obs: np.zeros(len(obs), np.int64))
    # Values are 1, 2, 3 for states 0, 1, 2. Walking 0 1 2 0 1 reaches 1 2 0 1 and, at the limit, 2.
    reached = counted(targets(rollout)[0], rollout.valid).tolist()
    assert reached[:10] == [2, 3, 1, 2, 3] * 2
    assert (
        counted(rollout.done, rollout.valid).tolist()[:10] == [False, False, False, False, True] * 2
    )
    assert not rollout.terminated.any()


def push_towards_the_lean(obs):
    """A function of the observation alone, bad enough to fall: pushes with the sign of x."""
    return (obs[:, 0] > 0).astype(np.int64)


ENVS = {
    "native": EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic"),
    "foreign": EnvConfig(id="CartPole-v1"),
}


def by_env(rollout, field):
    """Return the valid entries of a (T, N) field, env by env."""
    valid = torch.ones_like(rollout.done) if rollout.valid is None else rollout.valid
    return [field[:, i][valid[:, i]] for i in range(field.shape[1])]


@pytest.fixture(scope="module", params=ENVS)
def three_rollouts(request):
    """The same three environments, 80 rows each, in each mode."""
    config = ENVS[request.param]
    return {
        mode: collected(config.make_vec(3, mode), 5, 80, push_towards_the_lean) for mode in MODES
    }


@pytest.mark.parametrize("mode", MODES[1:], ids=[mode.name for mode in MODES[1:]])
def test_all_modes_give_the_same_transitions_and_targets(three_rollouts, mode):
    reference, other = three_rollouts[AutoresetMode.SAME_STEP], three_rollouts[mode]
    assert int(reference.done.sum()) >= 6  # so that there is something to tell
    for extract in (
        lambda r: r.obs,
        lambda r: r.reward,
        lambda r: r.terminated,
        lambda r: r.done,
        lambda r: r.action,
        lambda r: targets(r)[0],
    ):
        pairs = zip(
            by_env(reference, extract(reference)), by_env(other, extract(other)), strict=True
        )
        for ours, theirs in pairs:
            assert torch.equal(ours[: len(theirs)], theirs)


@pytest.mark.parametrize("mode", MODES[1:], ids=[mode.name for mode in MODES[1:]])
def test_all_modes_give_the_same_advantages_of_finished_episodes(three_rollouts, mode):
    reference, other = three_rollouts[AutoresetMode.SAME_STEP], three_rollouts[mode]
    for i in range(3):
        finished = int(by_env(other, other.done)[i].nonzero()[-1]) + 1
        ours = by_env(reference, targets(reference)[1])[i][:finished]
        theirs = by_env(other, targets(other)[1])[i][:finished]
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_next_step_rows_that_only_reset_are_not_valid(three_rollouts):
    rollout = three_rollouts[AutoresetMode.NEXT_STEP]
    # The row after an end, and no other, is a reset.
    assert rollout.valid[0].all()
    assert torch.equal(rollout.valid[1:], ~rollout.done[:-1])
    assert not rollout.reward[~rollout.valid].any()
    assert not rollout.done[~rollout.valid].any()


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_every_row_is_valid_where_resets_take_no_step(three_rollouts, mode):
    assert three_rollouts[mode].valid is None


def test_environments_that_use_their_memory_again_are_collected_rightly():
    def rollout(copy):
        makers = [lambda: gym.make("CartPole-v1") for _ in range(2)]
        mode = AutoresetMode.SAME_STEP
        return collected(
            SyncVectorEnv(makers, copy=copy, autoreset_mode=mode), 1, 40, push_towards_the_lean
        )

    fresh, reused = rollout(True), rollout(False)
    assert torch.equal(fresh.obs, reused.obs)
    assert torch.equal(fresh.next_obs, reused.next_obs)
    assert int(fresh.done.sum()) > 1
