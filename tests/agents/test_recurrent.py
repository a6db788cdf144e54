"""PPO with a memory: kept within an episode, never across, and learned through whole sequences.

``probe_env.Cue`` shows at the first step of an episode alone what its steps earn, so that a first
observation can be told by itself: it is not zero. Of its episodes of 5 steps the first ones are cut
earlier, as training environments are staggered.
"""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.wrappers import TransformObservation
from probe_env import MODES, Cue
from small_agents import collected

from robolearn.agents.on_policy import next_values
from robolearn.agents.ppo import PPO, PPOBatch, PPOConfig, minibatches, prepare_batch
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.evaluation import evaluate

LIMIT, ENVS, WIDTH = 5, 6, 8
SMALL = PPOConfig(
    num_envs=ENVS, n_steps=12, batch_size=24, n_epochs=2, hidden_sizes=(16,), gru_hidden_size=WIDTH
)
OBS = np.random.default_rng(0).uniform(-1, 1, (4, 3, 2)).astype(np.float32)  # 4 steps of 3 envs
NONE = np.zeros((3, WIDTH), np.float32)

every_mode = pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])


@pytest.fixture(autouse=True)
def cue():
    gym.register("tests/Cue-v0", Cue, max_episode_steps=LIMIT)
    gym.register("tests/Endless-v0", lambda: Cue(truncates=0.3))
    yield
    for name in ("Cue", "Endless"):
        gym.registry.pop(f"tests/{name}-v0")


def build(mode=MODES[0], config=SMALL, seed=0):
    return PPO(EnvConfig(id="tests/Cue-v0").make_vec(config.num_envs, mode), config, seed=seed)


def opinionated(agent):
    """Make the policy heed what it reads; at first it hardly does."""
    with torch.no_grad():
        agent.net.policy[-1].weight.mul_(300.0)
    return agent


def two_rollouts(agent):
    """Return what was seen in two rollouts on end, of 12 steps and of 9."""
    config = agent.config
    for length in (config.n_steps, 9):
        rollout = collected(agent, agent.collector, length)
        if rollout.valid is None:
            rollout = rollout._replace(valid=torch.ones_like(rollout.done))
        yield rollout._replace(initial_latent=rollout.initial_latent.clone())
    agent.close()


@torch.no_grad()
def remembered(net, obs, before):
    """Return the memory after observations one by one, from nothing where the first is no zero."""
    memories = []
    for row in obs:
        before = torch.zeros_like(before) if row.any() else before
        before = net.memory.cell(net.encoder.observations(row[None]), before[None])[0]
        memories.append(before)
    return torch.stack(memories)


# Acting.


@every_mode
def test_the_memory_lasts_an_episode_also_across_rollouts(mode):
    agent = build(mode).learn(72)
    before = agent._buffer.latent.clone()
    for rollout in two_rollouts(agent):
        for i in range(ENVS):
            expected = remembered(agent.net, rollout.obs[:, i], before[i])
            torch.testing.assert_close(rollout.latent[:, i], expected)
        before = rollout.latent[-1].clone()
        assert int(rollout.done.sum()) >= 6


@every_mode
def test_the_value_reached_at_a_time_limit_remembers_the_episode(mode):
    agent = build(mode).learn(72)
    net, before, cuts = agent.net, agent._buffer.latent.clone(), 0
    for rollout in two_rollouts(agent):
        with torch.no_grad():
            reached = next_values(net, rollout)
        for i in range(ENVS):
            memories = remembered(net, rollout.obs[:, i], before[i])
            for t in rollout.valid[:, i].nonzero().flatten().tolist():
                # Whatever an episode has reached is zero: after its first step nothing is shown.
                after = remembered(net, torch.zeros(1, 2), memories[t])[0]
                torch.testing.assert_close(reached[t, i], net.value(after).detach())
                cuts += int(rollout.done[t, i])
        before = rollout.latent[-1].clone()
    assert cuts > 20


@pytest.mark.slow
@every_mode
def test_memory_alone_tells_what_an_episode_is_worth(mode):
    # Reward 1 for ever is worth 1 / (1 - 0.8) = 5 and 0 for ever 0, if being cut every third step
    # or so is no death. What is seen on the way, and where it is cut, is the same in both.
    config = PPOConfig(
        num_envs=16,
        n_steps=20,
        batch_size=320,
        n_epochs=8,
        gamma=0.8,
        learning_rate=5e-3,
        hidden_sizes=(16,),
        gru_hidden_size=8,
    )
    envs = EnvConfig(id="tests/Endless-v0").make_vec(16, mode)
    agent = PPO(envs, config, seed=0).learn(12_000)
    agent.close()
    state = None
    for step in range(4):
        obs = np.eye(2, dtype=np.float32) if step == 0 else np.zeros((2, 2), np.float32)
        np.testing.assert_allclose(agent.value(obs, state), [0.0, 5.0], atol=0.25)
        state = agent.predict(obs, state)[1]


# Learning.


@every_mode
def test_before_the_first_gradient_step_every_action_is_as_likely_as_when_it_was_taken(mode):
    agent = opinionated(build(mode).learn(72))
    net, spread = agent.net, []
    for rollout in two_rollouts(agent):
        whole = prepare_batch(net, rollout, agent.config)
        parts = list(minibatches(net, rollout, whole, 24, torch.Generator()))
        assert len(parts) == (3 if len(rollout.obs) == 12 else 2)
        for latent, batch in parts:
            ratio = (net.head.log_prob(net.policy(latent), batch.action) - batch.old_log_prob).exp()
            torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0, atol=1e-4)
            spread.append(batch.old_log_prob)
    assert float(torch.cat(spread).std()) > 0.1  # the policy does depend on what it reads


def numbered(rollout):
    """Return a batch whose actions are 100 t + env."""
    steps, count = rollout.done.shape
    action = 100 * torch.arange(steps)[:, None] + torch.arange(count)
    return PPOBatch(rollout.obs, action, *(torch.zeros(steps, count) for _ in range(5)))


@every_mode
@pytest.mark.parametrize(("size", "envs"), [(24, [2, 2, 2]), (44, [4, 2]), (1, [1] * 6)])
def test_minibatches_are_whole_sequences_of_environments(mode, size, envs):
    # 12 steps each: 24 steps are 2 environments, 44 are nearest to 4, 1 is one at the least.
    agent = build(mode)
    rollout = next(two_rollouts(agent))
    valid, found, everyone = rollout.valid, [], []
    parts = minibatches(
        agent.net, rollout, numbered(rollout), size, torch.Generator().manual_seed(3)
    )
    for latent, batch in parts:
        members = sorted({int(action) % 100 for action in batch.action})
        assert len(latent) == len(batch.action) == int(valid[:, members].sum())
        found.append(len(members))
        everyone += members
    assert found == envs
    assert sorted(everyone) == list(range(ENVS))
    assert everyone != list(range(ENVS))


def test_without_a_memory_minibatches_are_shuffled_steps_without_resets():
    agent = build(MODES[1], replace(SMALL, gru_hidden_size=0))
    rollout = next(two_rollouts(agent))
    obs, valid, whole = rollout.obs, rollout.valid, numbered(rollout)
    assert not valid.all()
    parts = list(minibatches(agent.net, rollout, whole, 25, torch.Generator()))
    assert {len(latent) for latent, _ in parts[:-1]} == {25}
    for latent, batch in parts:
        assert torch.equal(latent, obs[batch.action // 100, batch.action % 100])
    actions = torch.cat([batch.action for _, batch in parts])
    assert sorted(actions.tolist()) == sorted(whole.action[valid].tolist())
    assert len(set((parts[0][1].action % 100).tolist())) > 2


# Predicting.


def by_steps(agent, starts):
    """Return the memories and actions of four steps of three environments."""
    state, memories, actions = None, [], []
    for obs, start in zip(OBS, starts, strict=True):
        action, state = agent.predict(obs, state, start, deterministic=True)
        memories.append(state)
        actions.append(action)
    return np.array(memories), np.array(actions)


def test_predict_carries_the_memory_of_each_environment_and_empties_it_where_one_starts():
    agent = opinionated(build())
    starts = np.zeros((4, 3), np.bool_)
    starts[0], starts[2, 1] = True, True
    memories, actions = by_steps(agent, starts)
    assert memories.shape == (4, 3, WIDTH)
    for i in range(3):
        state = NONE[:1]
        for t in range(4):
            state = NONE[:1] if starts[t, i] else state
            with torch.no_grad():
                cell = agent.net.memory.cell(torch.from_numpy(OBS[t, i : i + 1]), *tensors(state))
                best = agent.net.policy(cell).argmax()
            state = cell.numpy()
            np.testing.assert_allclose(memories[t, i], state[0], rtol=1e-5, atol=1e-6)
            assert actions[t, i] == int(best)


def tensors(*arrays):
    return [torch.from_numpy(array) for array in arrays]


def test_no_memory_is_a_memory_of_zeros_and_tensors_are_as_good_as_arrays():
    agent = build()
    expected = agent.predict(OBS[0])[1]
    old = np.ones((3, WIDTH), np.float32)
    for state, start in [(NONE, None), (torch.zeros(3, WIDTH), None), (old, np.ones(3, bool))]:
        np.testing.assert_array_equal(agent.predict(OBS[0], state, start)[1], expected)
    assert not np.array_equal(agent.predict(OBS[0], old)[1], expected)
    np.testing.assert_array_equal(old, 1.0)
    np.testing.assert_array_equal(agent.value(OBS[0]), agent.value(OBS[0], NONE))
    assert not np.array_equal(agent.value(OBS[0]), agent.value(OBS[0], old))


def test_one_observation_has_a_memory_of_one_row():
    agent = build()
    _, state = agent.predict(OBS[0, 0])
    action, again = agent.predict(OBS[1, 0], state, np.array([False]))
    assert np.ndim(action) == 0
    np.testing.assert_array_equal(state, agent.predict(OBS[0, :1])[1])
    np.testing.assert_array_equal(again, agent.predict(OBS[1, :1], state)[1])


def test_a_memory_of_another_shape_is_refused():
    with pytest.raises(RobolearnError, match=r"must have shape \(3, 8\), got \(2, 8\)"):
        build().predict(OBS[0], np.zeros((2, 8)))


def test_a_read_agent_remembers_and_learns_alike(tmp_path):
    agent = opinionated(build().learn(144))
    agent.close()
    agent.save(tmp_path / "agent")
    starts = np.zeros((4, 3), np.bool_)
    copies = []
    for _ in range(2):
        envs = EnvConfig(id="tests/Cue-v0").make_vec(ENVS)
        again = PPO.load(tmp_path / "agent", env=envs)
        assert again.config == agent.config
        for ours, theirs in zip(by_steps(agent, starts), by_steps(again, starts), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        copies.append(again.learn(72))
        again.close()
    one, other = (copy.net.state_dict() for copy in copies)
    assert all(torch.equal(one[key], other[key]) for key in one)


# What it is for.


def angles_alone(**options):
    """Return CartPole-v1 without its velocities."""
    space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    return TransformObservation(CartPoleEnv(**options), lambda obs: obs[[0, 2]], space)


@pytest.mark.slow
@pytest.mark.parametrize(("memory", "steps"), [(32, 32_000), (0, 60_000)], ids=["memory", "none"])
def test_a_pole_whose_velocity_is_not_shown_is_balanced_by_memory_alone(memory, steps):
    gym.register("tests/AnglesAlone-v0", angles_alone, max_episode_steps=500)
    env = EnvConfig(id="tests/AnglesAlone-v0")
    config = PPOConfig(gru_hidden_size=memory, hidden_sizes=(32,), n_epochs=10, learning_rate=3e-3)
    agent = PPO(env, config, seed=0).learn(steps)
    agent.close()
    balanced = evaluate(agent, env, episodes=10).mean
    gym.registry.pop("tests/AnglesAlone-v0")
    assert balanced >= 450 if memory else balanced <= 200
