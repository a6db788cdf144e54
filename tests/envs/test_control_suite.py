"""CartPole-DMC against the public dm_control definition, restated here from its source.

The physics numbers and the reward are those of dm_control 1.0.50, suite/cartpole.xml,
suite/cartpole.py and utils/rewards.py (Tassa et al., 2018, arXiv:1801.00690).
"""

import math

import gymnasium as gym
import mujoco
import numpy as np
import pytest

PUBLIC = """
<mujoco>
  <option timestep="0.01" integrator="RK4"><flag contact="disable" energy="enable"/></option>
  <worldbody>
    <body pos="0 0 1">
      <joint name="slider" type="slide" axis="1 0 0" damping="5e-4"
             limited="true" range="-1.8 1.8" solreflimit=".08 1"/>
      <geom type="box" size="0.2 0.15 0.1" mass="1"/>
      <body>
        <joint name="hinge_1" type="hinge" axis="0 1 0" damping="2e-6"/>
        <geom type="capsule" fromto="0 0 0 0 0 1" size="0.045" mass=".1"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="slider" gear="10" ctrllimited="true" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""
STEPS = 100
rng = np.random.default_rng(0)
ACTIONS = {
    "right": np.ones(STEPS),  # reaches the slider's limit after about 0.65 s
    "left": -np.ones(STEPS),
    "random": rng.uniform(-1, 1, STEPS),
    "pumping": np.sign(np.sin(np.arange(STEPS) * 0.04)),
}
every_sequence = pytest.mark.parametrize("actions", ACTIONS.values(), ids=ACTIONS)


def play(actions):
    """Return start, states, observations and rewards of CartPoleDMC-v0."""
    env = gym.make("robolearn_envs:robolearn/CartPoleDMC-v0").unwrapped
    env.reset(seed=5)
    start = np.hstack(env.vector_env.qpos_qvel())[0]
    states, observations, rewards = [], [], []
    for action in actions:
        observation, reward, *_ = env.step(np.array([action]))
        states.append(np.hstack(env.vector_env.qpos_qvel())[0])
        observations.append(observation)
        rewards.append(reward)
    env.close()
    return start, np.array(states), np.array(observations), np.array(rewards)


def public_states(start, actions):
    model = mujoco.MjModel.from_xml_string(PUBLIC)
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = start[:2], start[2:]
    states = []
    for action in actions:
        data.ctrl[0] = action
        mujoco.mj_step(model, data)
        states.append(np.hstack([data.qpos, data.qvel]))
    return np.array(states)


def public_reward(x, theta, theta_dot, control):
    """``Balance.get_reward``, not sparse, on plain numbers."""

    def gaussian(distance, margin, value_at_margin=0.1):
        scale = math.sqrt(-2 * math.log(value_at_margin))
        return math.exp(-0.5 * (abs(distance) / margin * scale) ** 2)

    upright = (math.cos(theta) + 1) / 2
    centered = (1 + gaussian(x, margin=2)) / 2
    small_control = (4 + (1 - control**2 if abs(control) < 1 else 0.0)) / 5
    small_velocity = (1 + gaussian(theta_dot, margin=5)) / 2
    return upright * small_control * small_velocity * centered


@every_sequence
def test_first_hundred_states_are_those_of_plain_mujoco(actions):
    start, states, *_ = play(actions)
    np.testing.assert_allclose(states, public_states(start, actions), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "side"), [("right", 1), ("left", -1)])
def test_the_slider_stops_softly_at_its_limit(name, side):
    _, states, *_ = play(ACTIONS[name])
    x, x_dot = side * states[:, 0], side * states[:, 2]
    assert 1.8 < x.max() < 2.0
    assert x_dot[np.argmax(x) + 1] < 0.0  # and is pushed back


@every_sequence
def test_rewards_are_the_public_formula(actions):
    _, states, _, rewards = play(actions)
    expected = [
        public_reward(x, theta, theta_dot, action)
        for (x, theta, _, theta_dot), action in zip(states, actions, strict=True)
    ]
    np.testing.assert_allclose(rewards, expected, rtol=0, atol=1e-6)


def test_the_public_formula_here_gives_the_numbers_worked_out_by_hand():
    assert public_reward(0.0, 0.0, 0.0, 0.0) == 1.0
    # upright 1/2 * centered (1 + 0.1)/2 * control (4 + 0.75)/5 * velocity (1 + 0.1)/2
    assert public_reward(2.0, math.pi / 2, -5.0, 0.5) == pytest.approx(0.1436875)
    assert public_reward(0.0, 0.0, 0.0, -1.0) == 0.8


@every_sequence
def test_observations_are_position_and_velocity_as_dm_control_orders_them(actions):
    _, states, observations, _ = play(actions)
    x, theta, x_dot, theta_dot = states.T
    expected = np.stack([x, np.cos(theta), np.sin(theta), x_dot, theta_dot], axis=-1)
    np.testing.assert_allclose(observations, expected, rtol=2.0**-23, atol=1e-12)


def test_an_episode_lasts_a_thousand_steps():
    env = gym.make("robolearn_envs:robolearn/CartPoleDMC-v0", disable_env_checker=True)
    env.reset(seed=0)
    ends = [env.step(np.zeros(1))[2:4] for _ in range(1000)]
    env.close()
    assert ends == [(False, False)] * 999 + [(False, True)]


def test_actions_beyond_the_range_count_as_its_bounds():
    # MuJoCo clamps control to [-1, 1]; dm_control's reward sees it clamped by its action spec.
    clipped, beyond = play(np.ones(5)), play(np.full(5, 3.0))
    np.testing.assert_array_equal(clipped[1], beyond[1])
    np.testing.assert_array_equal(clipped[3], beyond[3])
