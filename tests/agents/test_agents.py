"""What every agent must do, whatever its algorithm."""

import inspect

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from probe_env import MODES, Walk
from small_agents import BALANCE, DEEP, build, every_agent, every_policy, trained, weights
from stable_baselines3.common.base_class import BaseAlgorithm

from robolearn.agents import agent_class
from robolearn.agents.dqn import DQN, DQNConfig
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.environments import EnvConfig
from robolearn.errors import DivergedError, RobolearnError
from robolearn.evaluation import evaluate


def observations(count=7):
    return np.random.default_rng(0).uniform(-0.2, 0.2, (count, 4)).astype(np.float32)


every_variant = pytest.mark.parametrize(
    ("name", "changes"),
    [*((name, {}) for name in DEEP), ("dqn", {"rainbow": True})],
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


@every_policy
def test_policies_learn_on_the_threads_asked_for(name, threads):
    class Watched(Walk):
        def step(self, actions):
            used.add(torch.get_num_threads())
            return super().step(actions)

    for asked in (1, 2):
        used = set()
        threads(3)
        build(name, Watched(AutoresetMode.SAME_STEP), threads=asked).learn(64)
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


@pytest.mark.slow
@every_agent
@pytest.mark.parametrize(
    ("asked", "made"), [(256, 256), (4, 4), (100, 100), (1, 4), (101, 104), (67, 68)]
)
def test_learn_makes_the_steps_asked_for_in_whole_rows_of_environments(name, asked, made):
    # Four environments: the next multiple of 4, also where episodes are played to their end: no
    # more rows are begun than steps are left, and where fewer are made, another update follows.
    agent = trained(name, steps=asked)
    assert agent.steps == made


def test_an_update_of_reinforce_is_the_longest_episode_of_those_begun_together():
    # Episodes of 5 steps: 4 environments make 20 steps an update, the last of which is cut short
    # where no 5 rows are left: 50 steps are two updates and three rows of four.
    agent = build("reinforce", Walk(AutoresetMode.SAME_STEP, staggered=False))
    assert [report.steps for report in agent.iterate(50)] == [20, 40, 52]
    # Begun at their steps 0 to 3 they have 5 to 2 steps to go: 5 rows are made, 14 steps count.
    agent = build("reinforce", Walk(AutoresetMode.SAME_STEP))
    valid = whole_episodes(agent).rollout.valid
    assert valid.sum(dim=0).tolist() == [5, 4, 3, 2]
    assert valid.shape == (5, 4)


def whole_episodes(agent):
    """Return what an agent that plays whole episodes saw of one of each environment."""
    config = agent.config
    collector = agent.envs.collector(config.num_envs, agent.seed)
    return agent._collect(collector, config.rollout_steps)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])
def test_first_episodes_of_reinforce_are_not_staggered(mode):
    # Ten episodes are 500 steps each; training environments are otherwise cut at random ones.
    env = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="analytic").make_vec(10, mode)
    agent = build("reinforce", env, rollout_steps=1000)
    rollout = whole_episodes(agent).rollout
    assert rollout.valid.shape == (500, 10)
    assert rollout.valid.all()
    assert rollout.done[-1].all()
    agent.close()


@every_agent
def test_learning_goes_on_where_it_stopped(name):
    agent = build(name).learn(64).learn(64)
    agent.close()
    assert agent.steps == 128


@pytest.mark.slow
@every_agent
def test_reports_count_the_steps_up_and_hand_out_each_episode_once(name):
    agent = build(name)
    reports = list(agent.iterate(512))
    agent.close()
    assert [report.steps for report in reports] == sorted({report.steps for report in reports})
    assert reports[-1].steps == 512
    episodes = [episode for report in reports for episode in report.episodes]
    assert len(episodes) > 10
    # Reward 1 a step: the return is the length, and no more steps end than were made.
    assert all(episode.total == episode.length for episode in episodes)
    assert 512 - 4 * 500 < sum(episode.length for episode in episodes) <= 512


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
    agent = build("dqn", epsilon_end=0.4)
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
    agent = trained(name, env=envs, steps=30)
    assert agent.config.num_envs == 3
    assert agent.steps == 30


@pytest.mark.parametrize("name", ["dqn", "pqn"])
def test_q_learners_refuse_continuous_actions_and_say_what_to_use(name):
    cls = agent_class(name)
    with pytest.raises(RobolearnError, match=r"needs discrete actions, got Box.* Use PPO"):
        cls("Pendulum-v1")
    with pytest.raises(RobolearnError, match=r"action='discrete' .*or PPO"):
        cls("robolearn/CartPoleSwingUp-v0", engine="analytic")
    cls("robolearn/CartPoleSwingUp-v0", engine="analytic", action="discrete")


@pytest.mark.parametrize("name", ["dqn", "pqn"])
def test_q_learners_learn_from_images(name):
    env = EnvConfig(id="robolearn/NavDepth-v0", engine="analytic", kwargs={"action": "discrete"})
    options = {"rollout_steps": 8, "minibatch": 16} if name == "pqn" else {"updates": 2}
    agent = build(name, env, num_envs=2, features=8, **options)
    cnn = agent.online.perception.images[0].cnn
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
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
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
    agent = build("dqn", epsilon_start=0.9, epsilon_end=0.1, epsilon_fraction=0.5)
    # Half way of the fall is a quarter of the way: 0.9 - 0.8 / 2.
    assert [agent._epsilon(done) for done in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx(
        [0.9, 0.5, 0.1, 0.1, 0.1]
    )


def test_dqn_without_a_fall_explores_at_its_end_from_the_start():
    agent = build("dqn", epsilon_end=0.1, epsilon_fraction=0.0)
    assert agent._epsilon(0.0) == pytest.approx(0.1)


def test_dqn_acts_at_random_while_it_warms_up_and_then_by_a_falling_epsilon():
    agent = build("dqn", epsilon_start=0.9, epsilon_end=0.1, epsilon_fraction=0.5)
    epsilon = [report.metrics["epsilon"] for report in agent.iterate(512)]
    agent.close()
    # A round is 4 steps of 4 environments; after 4 of the 32 the memory holds the 64 of warm-up.
    # Round k begins after k/32 of the steps: 0.9 - 0.8 * (k/32) / 0.5, which is 0.1 from k = 16 on.
    falling = [0.9 - 0.05 * k for k in range(4, 16)]
    assert epsilon == pytest.approx([1.0] * 4 + falling + [0.1] * 16)


@pytest.mark.slow
@every_agent
def test_the_learning_rate_falls_linearly_over_the_steps(name):
    agent = build(name, learning_rate=1.0e-3, final_learning_rate=2.0e-4)
    reports = list(agent.iterate(640))
    agent.close()
    before = [0, *(report.steps for report in reports)]
    for steps, report in zip(before, reports, strict=False):
        if "learning_rate" in report.metrics:
            # 1e-3 before the first step, 2e-4 after the last of 640.
            expected = 1.0e-3 - 0.8e-3 * steps / 640
            assert report.metrics["learning_rate"] == pytest.approx(expected)


def test_dqn_draws_epsilon_for_each_environment():
    # epsilon 0.3 of 20,000 environments, two actions: 15 % leave the best one, 3000 +- 50.
    # One coin for the batch would give none or half.
    agent = build("dqn", Walk(AutoresetMode.SAME_STEP, num_envs=20_000, staggered=False))
    steps, actions = agent._explore(agent.envs.collector(20_000, 0), 3, 0.3)
    assert actions.shape == (3, 20_000)
    for step, action in zip(steps, actions, strict=True):
        best = int(agent.predict(step.obs[0], deterministic=True)[0])
        astray = int((action != best).sum())
        assert abs(astray - 3000) < 4 * 50


def test_dqn_copies_the_online_network_after_every_target_period():
    agent = build("dqn", target_period=10_000)
    before = {key: tensor.clone() for key, tensor in agent.target.state_dict().items()}
    agent.learn(256)
    agent.close()
    assert all(torch.equal(before[key], now) for key, now in agent.target.state_dict().items())
    often = trained("dqn", target_period=1)
    online = dict(often.online.named_parameters())
    assert all(torch.equal(online[key], p) for key, p in often.target.named_parameters())


# Learning.


@pytest.mark.slow
def test_ppo_learns_to_balance_the_pole():
    config = PPOConfig(gamma=0.98, gae_lambda=0.9, num_envs=16, minibatch=256)
    agent = PPO(BALANCE, config, seed=0).learn(50_000)
    agent.close()
    assert greedy_return(agent) >= 475


@pytest.mark.slow
def test_dqn_learns_to_balance_the_pole():
    # DQN's greedy policy comes and goes while it learns, so it is watched on the way.
    config = DQNConfig(
        gamma=0.98,
        target_period=25,
        n_step=5,
        hidden=(64, 64),
        updates=4,
        learning_rate=2e-3,
        epsilon_fraction=0.4,
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
        ("ppo", {"memory": 0, "minibatch": 1}),
        ("ppo", {"memory": 4, "minibatch": 1}),
        ("a2c", {}),
        ("a2c", {"memory": 4}),
        ("pqn", {"minibatch": 1}),
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
        resets += not {"policy_loss", "td_loss"} & report.metrics.keys()
        assert np.isfinite(list(report.metrics.values())).all()
    agent.close()
    assert (resets > 0) == (num_envs == 1)
    [module] = agent.parts().modules.values()
    assert all(np.isfinite(t.numpy()).all() for t in module.state_dict().values())


def test_dqn_learns_though_its_memory_is_smaller_than_its_warm_up():
    # 1000 // 16 * 16 = 992 steps fit, fewer than the 1000 of warm-up.
    agent = DQN(BALANCE, DQNConfig(num_envs=16, capacity=1000, warmup=1000, hidden=(16,)))
    agent.learn(2000)
    agent.close()
    assert agent.updates > 0


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
    message = rf"The {what} of environment 2 is {number}.* after step 38\. Nothing was learned"
    taught = []
    with pytest.raises(DivergedError, match=message) as refusal:
        taught.extend(weights(agent) for _ in agent.iterate(1000))
    assert refusal.value.exit_code == 4
    assert refusal.value.env == 2
    assert weights(agent) == taught[-1] != untaught
    assert agent.steps <= 4 * 37
    agent.close()
