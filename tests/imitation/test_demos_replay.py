"""Replay: recorded episodes lived through again, exactly where they were and nearly elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
from recorded import recorded

from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.imitation.demos.episodes import Demonstration, Demonstrations
from robolearn.imitation.demos.replay import TOLERANCE, replay

BALANCE = "robolearn/CartPoleBalance-v0"
ENGINES = ["mujoco", "bullet", "analytic"]
every_engine = pytest.mark.parametrize("engine", ENGINES)


def cut(one, steps, **changes):
    """Return the first steps of an episode."""
    return replace(
        one,
        observation=one.observation[: steps + 1],
        action=one.action[:steps],
        reward=one.reward[:steps],
        terminated=one.terminated[:steps],
        truncated=one.truncated[:steps],
        state={name: rows[: steps + 1] for name, rows in one.state.items()},
        success=None,
        **changes,
    )


def of(demos, *episodes):
    return replace(demos, episodes=episodes)


@pytest.fixture(scope="module")
def balanced():
    return recorded("CartPoleBalance-v0", action="continuous")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CartPoleBalance-v0", {}),
        ("CartPoleSwingUp-v0", {"domain_randomization": 0.2}),
        (
            "CartPoleSwingUp-v0",
            {"engine": "bullet", "action": "discrete", "num_discrete_actions": 11},
        ),
        ("CartPoleSwingUp-v0", {"engine": "analytic"}),
        ("NavLidar-v0", {"level": 3, "domain_randomization": 0.2}),
        ("NavRover-v0", {"level": 1}),
    ],
)
def test_the_same_engine_gives_the_same_episode_bit_for_bit(name, options):
    demos = recorded(name, (4, 7), **options)
    again = replay(demos, [0, 1], demos.env)
    for told, one in zip(again.episodes, demos.episodes, strict=True):
        assert told.exact
        assert told.first is None
        assert (told.observation, told.state, told.reward) == (0, 0, 0)
        assert told.steps == told.recorded_steps == len(one)
        assert told.total == told.recorded_return == one.total
        assert told.success is one.success is True
    assert again.film is None


def test_episodes_are_lived_through_in_the_order_asked_for(balanced):
    again = replay(balanced, [2, 0], balanced.env)
    assert [told.episode for told in again.episodes] == [2, 0]
    assert all(told.exact for told in again.episodes)


@pytest.mark.parametrize("engine", ["bullet", "analytic"])
def test_a_cart_pole_on_another_engine_is_nearly_the_same_for_a_while(balanced, engine):
    short = of(balanced, cut(balanced.episodes[0], 20))
    (told,) = replay(short, [0], replace(balanced.env, engine=engine)).episodes
    assert 0 < told.state < 1e-9
    assert told.first is None
    assert not told.exact
    assert told.success is None  # no end was reached


def test_a_divergence_that_grows_is_told_with_its_first_step():
    # Open loop, an upright pole's error grows by a few per cent a step: from rounding to falling.
    demos = recorded("CartPoleBalance-v0", (1,))
    (told,) = replay(demos, [0], replace(demos.env, engine="bullet")).episodes
    assert told.first is not None
    before = of(demos, cut(demos.episodes[0], told.first - 1))
    at = of(demos, cut(demos.episodes[0], told.first))
    elsewhere = replace(demos.env, engine="bullet")
    (short,) = replay(before, [0], elsewhere).episodes
    (longer,) = replay(at, [0], elsewhere).episodes
    assert max(short.observation, short.state, short.reward) <= TOLERANCE
    assert max(longer.observation, longer.state, longer.reward) > TOLERANCE
    assert short.first is None
    assert longer.first == told.first


def test_a_changed_action_is_a_divergence_from_its_step_on(balanced):
    one = balanced.episodes[0]
    action = one.action.copy()
    action[30] = -1.0
    (told,) = replay(of(balanced, replace(one, action=action)), [0], balanced.env).episodes
    assert told.first == 31  # the state after step 30 is the 31st
    assert told.state > 0.01


def test_a_changed_reward_is_a_divergence_of_the_reward_alone(balanced):
    one = balanced.episodes[0]
    reward = one.reward.copy()
    reward[9] = 0.75
    (told,) = replay(of(balanced, replace(one, reward=reward)), [0], balanced.env).episodes
    assert (told.first, told.reward, told.observation, told.state) == (10, 0.25, 0, 0)
    assert (told.recorded_return, told.total) == (499.75, 500)


@pytest.mark.parametrize(("change", "first"), [(2e-6, 10), (5e-7, None)])
def test_differences_of_more_than_a_millionth_are_a_divergence(balanced, change, first):
    one = balanced.episodes[0]
    reward = one.reward.copy()
    reward[9] += change
    (told,) = replay(of(balanced, replace(one, reward=reward)), [0], balanced.env).episodes
    assert told.first == first
    assert told.reward == pytest.approx(change)
    assert not told.exact


def test_a_changed_observation_is_a_divergence_of_the_observation_alone(balanced):
    one = balanced.episodes[0]
    observation = one.observation.copy()
    observation[12, 1] += 0.5
    changed = of(balanced, replace(one, observation=observation))
    (told,) = replay(changed, [0], balanced.env).episodes
    assert (told.first, told.reward, told.state) == (12, 0, 0)
    assert told.observation == pytest.approx(0.5)


def test_a_number_that_is_not_finite_is_infinitely_far(balanced):
    one = balanced.episodes[0]
    reward = one.reward.copy()
    reward[2] = np.nan
    (told,) = replay(of(balanced, replace(one, reward=reward)), [0], balanced.env).episodes
    assert (told.first, told.reward) == (3, np.inf)


def test_an_episode_that_ends_earlier_now_is_told(balanced):
    one = balanced.episodes[0]
    pushed = replace(one, action=np.ones_like(one.action))  # full force until the pole falls
    (told,) = replay(of(balanced, pushed), [0], balanced.env).episodes
    assert told.steps < 50
    assert told.recorded_steps == 500
    assert told.total == told.steps  # 1 a step
    assert told.success is False
    assert told.recorded_success is True


def test_an_end_that_is_not_recorded_is_a_divergence(balanced):
    one = replace(balanced.episodes[0], truncated=np.zeros(500, dtype=np.bool_))
    (told,) = replay(of(balanced, one), [0], balanced.env).episodes
    assert told.first == 500
    assert not told.exact


@every_engine
def test_a_cart_pole_without_a_seed_begins_from_its_state(engine):
    demos = recorded("CartPoleSwingUp-v0", (3,), engine=engine)
    unseeded = of(demos, replace(demos.episodes[0], seed=None))
    (told,) = replay(unseeded, [0], demos.env).episodes
    assert told.exact
    assert told.success is True


def test_what_has_neither_seed_nor_state_is_refused(balanced):
    nothing = of(balanced, replace(balanced.episodes[0], seed=None, state={}))
    with pytest.raises(RobolearnError, match="has no seed"):
        replay(nothing, [0], balanced.env)


@pytest.mark.parametrize(
    ("name", "options"),
    [("CartPoleSwingUp-v0", {"domain_randomization": 0.2}), ("NavLidar-v0", {"level": 0})],
)
def test_what_the_state_does_not_tell_all_of_is_refused_without_a_seed(name, options):
    demos = recorded(name, (0,), **options)
    with pytest.raises(RobolearnError, match="only cart-poles without randomize"):
        replay(of(demos, replace(demos.episodes[0], seed=None)), [0], demos.env)


def test_an_environment_that_begins_elsewhere_is_refused(balanced):
    other = of(balanced, replace(balanced.episodes[0], seed=99))
    with pytest.raises(RobolearnError, match=r"reset\(seed=99\) begins .* off its start"):
        replay(other, [0], balanced.env)


def test_an_environment_with_other_actions_is_refused(balanced):
    with pytest.raises(RobolearnError, match="its action_space is"):
        replay(balanced, [0], EnvConfig(id=BALANCE))


@pytest.mark.parametrize("number", [3, -1])
def test_an_episode_that_there_is_not_is_refused(balanced, number):
    with pytest.raises(RobolearnError, match=rf"has episodes 0\.\.2, got {number}"):
        replay(balanced, [number], balanced.env)


def foreign(seed=6):
    """Return one episode of Gymnasium's own pendulum under random torques."""
    config = EnvConfig(id="Pendulum-v1")
    env = config.make()
    first, _ = env.reset(seed=seed)
    action = np.random.default_rng(0).uniform(-2, 2, (200, 1)).astype(np.float32)
    steps = [env.step(one) for one in action]
    env.close()
    one = Demonstration(
        observation=np.array([first, *(step[0] for step in steps)]),
        action=action,
        reward=np.array([float(step[1]) for step in steps]),
        terminated=np.array([step[2] for step in steps]),
        truncated=np.array([step[3] for step in steps]),
        seed=seed,
    )
    return Demonstrations(
        env=config,
        observation_space=env.observation_space,
        action_space=env.action_space,
        episodes=[one],
    )


def test_a_foreign_environment_is_lived_through_from_its_seed():
    demos = foreign()
    (told,) = replay(demos, [0], demos.env).episodes
    assert told.exact
    assert told.state is None
    assert told.success is None


def test_a_foreign_environment_that_begins_elsewhere_is_refused():
    demos = foreign()
    moved = of(demos, replace(demos.episodes[0], seed=7))
    with pytest.raises(RobolearnError, match="off its start"):
        replay(moved, [0], demos.env)
