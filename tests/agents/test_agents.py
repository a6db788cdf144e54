"""What every agent must do, whatever its algorithm."""

import inspect

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from probe_env import MODES, Walk
from small_agents import (
    BALANCE,
    DEEP,
    build,
    collected,
    every_agent,
    every_policy,
    explored,
    trained,
    weights,
)
from stable_baselines3.common.base_class import BaseAlgorithm

from robolearn.agents import agent_class
from robolearn.agents.dqn import DQN, RAINBOW, DQNConfig
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.buffers.rollout_buffer import Transition, counted
from robolearn.environments import EnvConfig
from robolearn.errors import DivergedError, RobolearnError
from robolearn.evaluation import evaluate


def observations(count=7):
    return np.random.default_rng(0).uniform(-0.2, 0.2, (count, 4)).astype(np.float32)


every_variant = pytest.mark.parametrize(
    ("name", "changes"),
    [*((name, {}) for name in DEEP), ("dqn", {**RAINBOW, "v_min": 0.0, "v_max": 10.0})],
    ids=[*DEEP, "rainbow"],
)


@pytest.mark.slow
@every_variant
def test_the_same_seed_learns_the_same_weights(name, changes):
    assert weights(trained(name, seed=3, **changes)) == weights(trained(name, seed=3, **changes))


@every_agent
def test_another_seed_learns_other_weights(name):
    assert weights(build(name, seed=3)) != weights(build(name, seed=4))
    assert weights(trained(name, seed=3)) != weights(trained(name, seed=4))


@every_agent
def test_learning_changes_the_weights(name):
    assert weights(build(name)) != weights(trained(name))


@every_agent
def test_global_random_state_is_neither_used_nor_changed(name):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global state is what this is about
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one = weights(trained(name))
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert weights(trained(name)) == one


@pytest.fixture
def threads():
    """Set torch's threads, put back after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.slow
@every_variant
def test_the_number_of_threads_changes_nothing_and_is_put_back(name, changes, threads):
    found = []
    for count in (1, 3):
        threads(count)
        found.append(weights(trained(name, **changes)))
        assert torch.get_num_threads() == count
    assert found[0] == found[1]


@every_agent
def test_agents_learn_on_the_threads_asked_for(name, threads):
    class Watched(Walk):
        def step(self, actions):
            used.add(torch.get_num_threads())
            return super().step(actions)

    for asked in (1, 2):
        used = set()
        threads(3)
        build(name, Watched(AutoresetMode.SAME_STEP), num_threads=asked).learn(64)
        assert used == {asked}
        assert torch.get_num_threads() == 3


@every_agent
def test_threads_are_put_back_when_learning_is_left_half_way(name, threads):
    threads(3)
    agent = build(name)
    for _ in agent.iterate(1000):
        assert torch.get_num_threads() == 3
        break
    agent.close()
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("name", ["ppo", "a2c", "pqn"])
@pytest.mark.parametrize(("asked", "made"), [(1, 64), (64, 64), (65, 128), (256, 256)])
def test_learn_makes_whole_rollouts(name, asked, made):
    # A rollout is 16 steps of 4 environments: the next multiple of 64.
    agent = trained(name, steps=asked)
    assert agent.steps == made


@pytest.mark.parametrize(("asked", "made"), [(256, 256), (4, 4), (1, 4), (101, 104)])
def test_dqn_makes_whole_rows_of_environments(asked, made):
    # Four environments: the next multiple of 4.
    assert trained("dqn", steps=asked).steps == made


ON_POLICY = ["ppo", "a2c", "reinforce", "pqn"]
ON_DEVICE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="torch")
PLACES = [(name, BALANCE) for name in ON_POLICY]
PLACES += [(name, ON_DEVICE) for name in ON_POLICY if name != "reinforce"]


@pytest.mark.parametrize(("name", "env"), PLACES)
def test_the_first_update_sees_observations_normalized_by_the_first_rollout(name, env):
    # Normalized by its own moments a rollout has mean 0 and variance 1; each later one is learned
    # from by the moments it was acted by, and counted afterwards, once.
    agent, steps = build(name, env), [0]
    net = agent.online if name == "pqn" else agent.net
    means, hook = [], "_batch" if name == "pqn" else "_update"
    update = getattr(agent, hook)

    def watched(learned, *rest):
        seen = counted(net.encoder(learned.obs), learned.valid)
        if name != "pqn":
            assert torch.equal(counted(learned.latent, learned.valid), seen)
        variance, mean = torch.var_mean(seen, dim=0, correction=0)
        means.append(mean)
        if len(means) == 1:
            torch.testing.assert_close(mean, torch.zeros(4), rtol=0, atol=1e-5)
            torch.testing.assert_close(variance, torch.ones(4), rtol=1e-4, atol=0)
        steps.append(steps[-1] + len(seen))
        return update(learned, *rest)

    setattr(agent, hook, watched)
    for report in agent.iterate(512):
        assert net.encoder.observations.count.item() == steps[-1]
        assert report.steps >= steps[-1]
    agent.close()
    assert len(means) > 1
    assert means[-1].abs().max() > 1e-2


def test_an_update_of_reinforce_is_the_longest_episode_of_those_begun_together():
    # Episodes of 5 steps: 4 environments make 20 steps an update, the last one too.
    agent = build("reinforce", Walk(AutoresetMode.SAME_STEP, staggered=False))
    assert [report.steps for report in agent.iterate(50)] == [20, 40, 60]
    # Begun at their steps 0 to 3 they have 5 to 2 steps to go: 5 rows are made, 14 steps count.
    agent = build("reinforce", Walk(AutoresetMode.SAME_STEP))
    valid = full_episodes(agent).valid
    assert valid.sum(dim=0).tolist() == [5, 4, 3, 2]
    assert valid.shape == (5, 4)


def full_episodes(agent):
    """Return what an agent that plays whole episodes saw of one of each environment."""
    config = agent.config
    collector = agent.envs.collector(config.num_envs, agent.seed)
    return collected(agent, collector, config.n_steps)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])
def test_first_episodes_of_reinforce_are_not_staggered(mode):
    # Ten episodes are 500 steps each; training environments are otherwise cut at random ones.
    env = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="analytic").make_vec(10, mode)
    agent = build("reinforce", env, n_steps=1000)
    rollout = full_episodes(agent)
    assert rollout.valid is None  # all count
    assert rollout.done.shape == (500, 10)
    assert rollout.done[-1].all()
    agent.close()


@every_agent
def test_learning_goes_on_where_it_stopped(name):
    agent = build(name).learn(64)
    between = agent.steps
    agent.learn(64)
    agent.close()
    assert 64 <= between < 64 + 256  # REINFORCE's rollouts have up to 64 steps of 4 environments
    assert between + 64 <= agent.steps < between + 64 + 256


@pytest.mark.slow
@every_agent
def test_reports_count_the_steps_up_and_hand_out_each_episode_once(name):
    agent = build(name)
    reports = list(agent.iterate(512))
    agent.close()
    assert [report.steps for report in reports] == sorted({report.steps for report in reports})
    made = reports[-1].steps
    assert 512 <= made < 512 + 256
    episodes = [episode for report in reports for episode in report.episodes]
    assert len(episodes) > 10
    # Reward 1 a step: the return is the length, and no more steps end than were made.
    assert all(episode.total_reward == episode.length for episode in episodes)
    assert made - 4 * 500 < sum(episode.length for episode in episodes) <= made


# Predicting.


@every_agent
def test_predict_has_sb3s_signature(name):
    ours = inspect.signature(agent_class(name).predict).parameters
    theirs = inspect.signature(BaseAlgorithm.predict).parameters
    defaults = [(key, value.default) for key, value in theirs.items()]
    assert [(key, value.default) for key, value in ours.items()] == defaults


@every_agent
def test_one_observation_and_a_batch_of_it_get_the_same_action(name):
    agent = trained(name)
    batch, _ = agent.predict(observations(), deterministic=True)
    singles = [agent.predict(one, deterministic=True)[0] for one in observations()]
    assert batch.shape == (7,)
    assert np.ndim(singles[0]) == 0
    assert batch.tolist() == [int(one) for one in singles]


@every_policy
def test_one_continuous_action_has_the_shape_of_the_space(name):
    agent = build(name, EnvConfig(id="Pendulum-v1"))
    obs = np.zeros((5, 3), np.float32)
    assert agent.predict(obs)[0].shape == (5, 1)
    assert agent.predict(obs[0])[0].shape == (1,)
    assert agent.envs.action_space.contains(agent.predict(obs[0])[0])


@every_agent
def test_predict_passes_the_state_through(name):
    state = (np.ones(3),)
    assert build(name).predict(observations(), state)[1] is state


@every_agent
def test_without_deterministic_actions_are_drawn(name):
    agent = build(name)
    one = np.repeat(observations(1), 2000, axis=0)
    assert len(set(agent.predict(one, deterministic=True)[0].tolist())) == 1
    drawn = agent.predict(one)[0]
    assert set(drawn.tolist()) == {0, 1}
    assert not np.array_equal(drawn, agent.predict(one)[0])


def test_dqn_explores_at_its_last_rate_when_it_draws():
    # epsilon 0.4 and two actions: the second-best 20 % of the time, 4000 of 20,000 draws;
    # the deviation is sqrt(20,000 * 0.2 * 0.8) = 57.
    agent = build("dqn", exploration_final_eps=0.4)
    one = np.repeat(observations(1), 20_000, axis=0)
    best = agent.predict(one[0], deterministic=True)[0]
    assert abs(int((agent.predict(one)[0] != best).sum()) - 4000) < 4 * 57


@pytest.mark.slow
@every_agent
def test_predicting_does_not_change_what_is_learned_next(name):
    quiet, asked = build(name), build(name)
    asked.predict(observations())
    for agent in (quiet, asked):
        agent.learn(256)
        agent.close()
    assert weights(quiet) == weights(asked)


@every_agent
def test_observations_of_another_shape_are_refused(name):
    with pytest.raises(RobolearnError, match=r"must have shape \(4,\)"):
        build(name).predict(np.zeros((2, 3), np.float32))


# Spaces.


@pytest.mark.slow
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Taxi-v4", "FrozenLake-v1", "Blackjack-v1"])
@every_agent
def test_any_discrete_environment_of_gymnasium_can_be_learned(name, env_id):
    if env_id not in gym.registry:
        env_id = env_id.replace("v4", "v3")
    agent = trained(name, steps=128, env=EnvConfig(id=env_id))
    env = gym.make(env_id)
    observation, _ = env.reset(seed=0)
    action, _ = agent.predict(observation, deterministic=True)
    assert env.action_space.contains(action)
    env.step(action)
    env.close()


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "InvertedPendulum-v5"])
@every_policy
def test_continuous_environments_of_gymnasium_can_be_learned(name, env_id):
    agent = trained(name, steps=128, env=EnvConfig(id=env_id))
    width = agent.envs.observation_space.shape[0]
    assert agent.envs.action_space.contains(agent.predict(np.zeros(width, np.float32))[0])


class Mixed(gym.Env):
    """A Dict observation, as navigation has; 30 steps long."""

    observation_space = spaces.Dict(
        {"picture": spaces.Box(0, 255, (2, 2), np.uint8), "goal": spaces.Box(-1.0, 1.0, (3,))}
    )
    action_space = spaces.Discrete(2)

    def _observe(self):
        self.count += 1
        picture = np.full((2, 2), self.count, np.uint8)
        return {"picture": picture, "goal": np.full(3, 0.1 * self.count, np.float32)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self._observe(), {}

    def step(self, action):
        observation = self._observe()
        return observation, 1.0, False, self.count > 9, {}


@pytest.fixture
def mixed():
    gym.register("tests/Mixed-v0", Mixed)
    yield EnvConfig(id="tests/Mixed-v0")
    gym.registry.pop("tests/Mixed-v0")


@every_agent
def test_dictionaries_of_observations_can_be_learned(name, mixed):
    agent = trained(name, env=mixed)
    one = {"picture": np.zeros((2, 2), np.uint8), "goal": np.zeros(3, np.float32)}
    two = {key: np.stack([array, array]) for key, array in one.items()}
    single, batch = (agent.predict(obs, deterministic=True)[0] for obs in (one, two))
    assert batch.tolist() == [int(single)] * 2


@every_agent
def test_ready_made_environments_decide_their_number(name):
    envs = Walk(AutoresetMode.SAME_STEP, num_envs=3)
    agent = trained(name, env=envs, steps=240)
    assert agent.config.num_envs == 3
    assert agent.steps == 240  # five rollouts of 16 * 3


@pytest.mark.parametrize("name", ["dqn", "pqn"])
def test_q_learners_refuse_continuous_actions_and_say_what_to_use(name):
    cls = agent_class(name)
    with pytest.raises(RobolearnError, match=r"needs Discrete actions, got Box.* Use PPO"):
        cls("Pendulum-v1")
    with pytest.raises(RobolearnError, match=r"action='discrete' .*or PPO"):
        cls("robolearn/CartPoleSwingUp-v0", engine="analytic")
    cls("robolearn/CartPoleSwingUp-v0", engine="analytic", action="discrete")


@pytest.mark.parametrize("name", ["dqn", "pqn"])
def test_q_learners_learn_from_images(name):
    env = EnvConfig(id="robolearn/NavDepth-v0", engine="analytic", kwargs={"action": "discrete"})
    options = {"n_steps": 8, "batch_size": 16} if name == "pqn" else {"gradient_steps": 2}
    agent = build(name, env, num_envs=2, cnn_features_dim=8, **options)
    cnn = agent.online.encoder.images[0].cnn
    before = [parameter.clone() for parameter in cnn.parameters()]
    agent.learn(96)
    agent.close()
    # Every weight of the eye is learned, and what is seen decides the values.
    assert not any(torch.equal(old, new) for old, new in zip(before, cnn.parameters(), strict=True))
    goal = np.zeros((2, 5), np.float32)
    near, far = np.zeros((64, 64), np.float32), np.ones((64, 64), np.float32)
    values = agent.q_values({"depth": np.stack([near, far]), "goal": goal})
    assert values.shape == (2, 5)
    assert not np.allclose(values[0], values[1], rtol=0.01)


class Odd(Walk):
    """A walk that takes actions nobody serves."""

    def __init__(self, action_space):
        super().__init__(AutoresetMode.SAME_STEP)
        self.single_action_space = action_space


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 9, (2,), np.int64),
        spaces.Dict({"a": spaces.Discrete(2)}),
    ],
    ids=lambda space: type(space).__name__,
)
@every_agent
def test_other_action_spaces_are_refused(name, space):
    with pytest.raises(RobolearnError, match=type(space).__name__):
        build(name, Odd(space))


# Schedules.


def test_dqn_epsilon_falls_from_its_start_to_its_end():
    agent = build(
        "dqn", exploration_initial_eps=0.9, exploration_final_eps=0.1, exploration_fraction=0.5
    )
    # Half way of the fall is a quarter of the way: 0.9 - 0.8 / 2.
    assert [agent._epsilon(done) for done in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx(
        [0.9, 0.5, 0.1, 0.1, 0.1]
    )


def test_dqn_without_a_fall_explores_at_its_end_from_the_start():
    agent = build("dqn", exploration_final_eps=0.1, exploration_fraction=0.0)
    assert agent._epsilon(0.0) == pytest.approx(0.1)


def test_dqn_acts_at_random_while_it_warms_up_and_then_by_a_falling_epsilon():
    agent = build(
        "dqn", exploration_initial_eps=0.9, exploration_final_eps=0.1, exploration_fraction=0.5
    )
    epsilon = [report.metrics["rollout/exploration_rate"] for report in agent.iterate(512)]
    agent.close()
    # A round is 4 steps of 4 environments; after 4 of the 32 the memory holds the 64 of warm-up.
    # Round k begins after k/32 of the steps: 0.9 - 0.8 * (k/32) / 0.5, which is 0.1 from k = 16 on.
    falling = [0.9 - 0.05 * k for k in range(4, 16)]
    assert epsilon == pytest.approx([1.0] * 4 + falling + [0.1] * 16)


@pytest.mark.slow
@every_agent
def test_the_learning_rate_falls_linearly_over_the_steps(name):
    agent = build(name, learning_rate=1.0e-3)
    reports = list(agent.iterate(640))
    agent.close()
    before = [0, *(report.steps for report in reports)]
    for steps, report in zip(before, reports, strict=False):
        if "train/learning_rate" in report.metrics:
            # 1e-3 before the first step, 0 after the last of 640.
            expected = 1.0e-3 * (1 - steps / 640)
            assert report.metrics["train/learning_rate"] == pytest.approx(expected)


@pytest.mark.parametrize("name", DEEP)
def test_a_constant_learning_rate_stays(name):
    agent = build(name, learning_rate=1.0e-3, lr_schedule="constant")
    rates = [report.metrics.get("train/learning_rate") for report in agent.iterate(640)]
    agent.close()
    assert set(rates) - {None} == {1.0e-3}


@pytest.mark.parametrize("name", DEEP)
def test_an_unknown_schedule_is_refused(name):
    with pytest.raises(RobolearnError, match=r"lr_schedule 'linaer'. Did you mean 'linear'"):
        build(name, lr_schedule="linaer")


def test_learning_in_pieces_goes_on_with_its_schedules_if_asked_to(tmp_path):
    # Of 1 it falls to 0 over all steps. The second 128 steps begin half-way of 256, at 0.5, and
    # end at 0; so do those of an agent read back. Begun again they would start at 1.
    options = {
        "exploration_initial_eps": 1.0,
        "exploration_final_eps": 0.0,
        "exploration_fraction": 1.0,
        "learning_starts": 0,
    }
    agent = build("dqn", **options).learn(128)
    agent.save(tmp_path / "agent")
    for one in (agent, DQN.load(tmp_path / "agent")):
        reports = list(one.iterate(128, reset_num_timesteps=False))
        epsilon = [report.metrics["rollout/exploration_rate"] for report in reports]
        assert epsilon == pytest.approx([0.5 - k / 16 for k in range(8)])
        assert one.steps == 256
        # Of a third piece two thirds are over: 1 - 256 / 384. Begun again it is 1.
        first, *_ = one.iterate(128, reset_num_timesteps=False)
        assert first.metrics["rollout/exploration_rate"] == pytest.approx(1 / 3)
        first, *_ = one.iterate(64)
        assert first.metrics["rollout/exploration_rate"] == 1.0
        one.close()


@every_agent
def test_weights_training_and_predicting_draw_from_streams_of_their_own(name):
    cls, drawn = agent_class(name), []

    class Watched(cls):
        def _build(self, weights):
            copy = torch.Generator()
            copy.set_state(weights.get_state())
            drawn.append(torch.randn(1000, generator=copy))
            super()._build(weights)

    for seed in (0, 1):
        agent = Watched(BALANCE, seed=seed)
        for rng in agent.parts().generators.values():
            fresh = torch.Generator().manual_seed(rng.initial_seed())
            drawn.append(torch.randn(1000, generator=fresh))
    # Six streams: correlations of 1000 independent numbers deviate by 0.032 from 0.
    found = torch.corrcoef(torch.stack(drawn)) - torch.eye(6)
    assert found.abs().max() < 5 * 0.032


@every_agent
def test_learn_takes_sb3s_reset_num_timesteps(name):
    theirs = inspect.signature(BaseAlgorithm.learn).parameters["reset_num_timesteps"]
    ours = inspect.signature(agent_class(name).learn).parameters["reset_num_timesteps"]
    assert ours.default is theirs.default is True


def test_dqn_draws_epsilon_for_each_environment():
    # epsilon 0.3 of 20,000 environments, two actions: 15 % leave the best one, 3000 +- 50.
    # One coin for the batch would give none or half.
    walk = Walk(AutoresetMode.SAME_STEP, num_envs=20_000, staggered=False)
    agent = build("dqn", walk, buffer_size=80_000)
    steps, actions = explored(agent, 3, 0.3)
    assert actions.shape == (3, 20_000)
    for obs, action in zip(steps.obs, actions, strict=True):
        best = int(agent.predict(obs[0].numpy(), deterministic=True)[0])
        astray = int((action != best).sum())
        assert abs(astray - 3000) < 4 * 50


def test_dqn_copies_the_online_network_after_every_target_period():
    agent = build("dqn", target_update_interval=10_000)
    before = {key: parameter.clone() for key, parameter in agent.target.named_parameters()}
    agent.learn(256)
    agent.close()
    assert all(torch.equal(before[key], now) for key, now in agent.target.named_parameters())
    often = trained("dqn", target_update_interval=1)
    online = dict(often.online.named_parameters())
    assert all(torch.equal(online[key], p) for key, p in often.target.named_parameters())


# Learning.


def test_dqns_target_network_normalizes_as_the_online_network_does(tmp_path):
    agent = build("dqn", target_update_interval=10_000)
    one = torch.tensor([[1.0, 2.0, -0.2, 3.0]])
    for _ in agent.iterate(128):
        seen = agent.online.encoder.observations
        expected = (one - seen.mean.float()) * seen.variance.float().rsqrt()
        for net in (agent.online, agent.target):
            torch.testing.assert_close(net.encoder(one), expected.clamp(-10, 10))
    agent.save(tmp_path / "agent")
    agent.close()
    again = DQN.load(tmp_path / "agent")
    again.online.encoder.update_normalization(one.expand(7, 4))
    assert torch.equal(again.target.encoder(one), again.online.encoder(one))
    assert again.target.encoder.observations.count == 128 + 7


@pytest.mark.slow
def test_ppo_learns_to_balance_the_pole():
    config = PPOConfig(gamma=0.98, gae_lambda=0.9, num_envs=16, batch_size=256)
    agent = PPO(BALANCE, config, seed=1).learn(50_000)
    agent.close()
    assert greedy_return(agent) >= 475


@pytest.mark.slow
def test_dqn_learns_to_balance_the_pole():
    # DQN's greedy policy comes and goes while it learns, so it is watched on the way.
    config = DQNConfig(
        gamma=0.98,
        target_update_interval=400,
        n_step=5,
        double_q=True,
        layer_norm=True,
        lr_schedule="linear",
        hidden_sizes=(64, 64),
        gradient_steps=4,
        learning_rate=2e-3,
        exploration_fraction=0.4,
    )
    agent = DQN(BALANCE, config, seed=1)
    best, looked = 0.0, 0
    for report in agent.iterate(40_000):
        if report.steps >= looked + 2_000:
            best, looked = max(best, greedy_return(agent)), report.steps
        if best >= 400:
            break
    agent.close()
    assert best >= 400


def greedy_return(agent):
    return evaluate(agent, BALANCE, episodes=25, seed=12).mean


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("ppo", {"gru_hidden_size": 0, "batch_size": 1, "n_steps": 1}),
        ("ppo", {"gru_hidden_size": 4, "batch_size": 1, "n_steps": 1}),
        ("a2c", {"n_steps": 1}),
        ("a2c", {"gru_hidden_size": 4, "n_steps": 1}),
        ("pqn", {"batch_size": 1, "n_steps": 1}),
    ],
    ids=["ppo", "ppo-memory", "a2c", "a2c-memory", "pqn"],
)
@pytest.mark.parametrize("num_envs", [1, 3])
def test_a_rollout_that_is_only_a_reset_teaches_nothing_and_spoils_nothing(num_envs, name, changes):
    # NEXT_STEP and one step at a time: after each fall comes a step that only resets. With a memory
    # minibatches of 1 step are single environments, of which one may have done nothing else.
    envs = gym.make_vec(
        "CartPole-v1",
        num_envs=num_envs,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.NEXT_STEP},
    )
    agent = build(name, envs, **changes)
    resets = 0
    for report in (report for _ in range(60) for report in agent.iterate(1)):
        resets += not {"train/policy_gradient_loss", "train/loss"} & report.metrics.keys()
        assert np.isfinite(list(report.metrics.values())).all()
    agent.close()
    assert (resets > 0) == (num_envs == 1)
    [module] = agent.parts().modules.values()
    assert all(np.isfinite(t.numpy()).all() for t in module.state_dict().values())


@pytest.mark.parametrize(
    ("options", "least"),
    [
        # A return of 5 steps reads 5 rows of 64 steps, and the one that is written next.
        ({"n_step": 5}, "64 \\* 6 = 384"),
        ({"n_step": 1, "train_freq": 8}, "64 \\* 8 = 512"),
    ],
)
def test_dqn_refuses_a_memory_that_cannot_hold_its_returns(options, least):
    with pytest.raises(RobolearnError, match=f"buffer_size must be at least .* = {least}, got 100"):
        DQNConfig(num_envs=64, buffer_size=100, **options)
    with pytest.raises(RobolearnError, match=r"16384 \* 4 = 65536, got 50000"):
        DQN(BALANCE, num_envs=16_384)


def test_dqn_stores_images_of_bytes_as_bytes():
    def held(space):
        walk = Walk(AutoresetMode.SAME_STEP)
        walk.single_observation_space = space
        agent = build("dqn", walk, cnn_features_dim=4, num_envs=4)
        agent._replay.add(step_of(space), torch.zeros(1, 4, dtype=torch.int64))
        return agent._replay.state()["obs"].dtype

    def step_of(space):
        obs = torch.ones(1, 4, spaces.flatdim(space))
        no = torch.zeros(1, 4, dtype=torch.bool)
        return Transition(obs, no.float(), obs, no, no, None)

    image, goal = spaces.Box(0, 255, (16, 16), np.uint8), spaces.Box(-1.0, 1.0, (3,))
    assert held(image) == held(spaces.Dict({"left": image, "right": image})) == torch.uint8
    assert held(goal) == held(spaces.Dict({"image": image, "goal": goal})) == torch.float32


def test_dqn_learns_though_its_memory_is_smaller_than_its_warm_up():
    # 1000 // 16 * 16 = 992 steps fit, fewer than the 1000 of warm-up.
    agent = DQN(
        BALANCE, DQNConfig(num_envs=16, buffer_size=1000, learning_starts=1000, hidden_sizes=(16,))
    )
    agent.learn(2000)
    agent.close()
    assert agent.num_updates > 0


@every_agent
def test_options_beside_an_env_config_are_refused_not_ignored(name):
    with pytest.raises(RobolearnError, match="engine can only be given with an environment's id"):
        agent_class(name)(BALANCE, engine="bullet")


@every_agent
def test_seeds_beyond_those_of_training_are_refused(name):
    with pytest.raises(RobolearnError, match=r"seed must lie in 0\.\.99999, got 100000"):
        build(name, seed=100_000).learn(64)


# Numbers that are none.


class Failing(gym.vector.VectorWrapper):
    """Walks whose third has a number that is none at step 38, where an episode of it ends."""

    def __init__(self, what, number):
        super().__init__(Walk(AutoresetMode.SAME_STEP))
        self.what, self.number, self.count = what, number, 0

    def step(self, actions):
        observation, reward, *ends, info = self.env.step(actions)
        self.count += 1
        if self.count == 38:
            assert ends[1][2]
            if self.what == "reward":
                reward[2] = self.number
            elif self.what == "observation":
                observation[2, 1] = self.number
            else:
                info["final_obs"][2][1] = self.number
        return observation, reward, *ends, info


@pytest.mark.slow
@every_variant
@pytest.mark.parametrize("number", [np.nan, -np.inf])
@pytest.mark.parametrize("what", ["reward", "observation", "final observation"])
def test_nothing_is_learned_from_numbers_that_are_none(name, changes, what, number):
    agent = build(name, Failing(what, number), gamma=0.9, **changes)
    untaught = weights(agent)
    message = rf"The {what} of environment 2 is {number}.* after step 38\. No update was made"
    taught = []
    with pytest.raises(DivergedError, match=message) as refusal:
        taught.extend(weights(agent) for _ in agent.iterate(1000))
    assert refusal.value.exit_code == 4
    assert refusal.value.env == 2
    assert weights(agent) == taught[-1] != untaught
    assert agent.steps <= 4 * 37
    agent.close()


class Overflowing(gym.vector.VectorWrapper):
    """Walks whose third earns so much at each step that two of them are infinite in float32."""

    def __init__(self):
        super().__init__(Walk(AutoresetMode.SAME_STEP))

    def step(self, actions):
        observation, reward, *rest = self.env.step(actions)
        reward[2] = 3e38
        return observation, reward, *rest


def test_ppo_takes_no_gradient_step_where_one_return_of_the_rollout_is_infinite():
    # Three of four minibatches of one step are of the other environments, whose returns are finite.
    plain = {"normalize_obs": False, "normalize_value": False, "normalize_advantage": False}
    agent = build("ppo", Overflowing(), batch_size=1, **plain)
    before = weights(agent)
    with pytest.raises(DivergedError, match="A return is not finite; no update was made"):
        agent.learn(64)
    assert weights(agent) == before
    assert agent.parts().optimizer.moments["step"] == 0
    agent.close()
