"""Wrong input is refused at the border, in words that help."""

import sys

import gymnasium as gym
import numpy as np
import pytest

from robolearn_envs import make_vec

SWING_UP, DMC = "robolearn/CartPoleSwingUp-v0", "robolearn/CartPoleDMC-v0"


@pytest.fixture
def swing_up():
    env = make_vec(SWING_UP, 3, engine="analytic")
    env.reset(seed=0)
    yield env
    env.close()


@pytest.fixture
def discrete():
    env = make_vec(SWING_UP, 3, engine="analytic", action="discrete")
    env.reset(seed=0)
    yield env
    env.close()


def test_a_misspelt_engine_gets_a_suggestion():
    with pytest.raises(ValueError, match=r"Unknown engine 'mujuco'\. Did you mean 'mujoco'\?"):
        gym.make(SWING_UP, engine="mujuco")


def test_an_unknown_engine_gets_the_list_of_engines():
    with pytest.raises(ValueError, match="analytic, bullet, mujoco"):
        gym.make(SWING_UP, engine="nope")


@pytest.mark.parametrize(
    ("version", "way_out"),
    [
        ((3, 11), r"Install it with: pip install pybullet \(or use engine='mujoco'\)$"),
        ((3, 13), r"Install it with: pip install pybullet-arm64 \(or use engine='mujoco'\)$"),
        ((3, 14), r"no wheels for Python 3\.14\. Use engine='mujoco', or Python 3\.11 to 3\.13\.$"),
    ],
)
def test_without_bullet_the_way_out_depends_on_the_python(monkeypatch, version, way_out):
    monkeypatch.setitem(sys.modules, "pybullet", None)  # as if it were not installed
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(ImportError, match=f"needs the package pybullet, .*{way_out}"):
        make_vec(SWING_UP, 1, engine="bullet")


def test_without_warp_its_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_warp", None)
    with pytest.raises(ImportError, match="pip install mujoco-warp warp-lang"):
        make_vec(SWING_UP, 1, engine="warp")


def test_without_pygame_a_window_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    env = gym.make(SWING_UP, engine="analytic", render_mode="human")
    with pytest.raises(gym.error.DependencyNotInstalled, match="pip install pygame-ce"):
        env.reset(seed=0)
    env.close()


@pytest.mark.parametrize("engine", ["bullet", "analytic"])
def test_dmc_is_refused_on_other_engines_with_the_reason(engine):
    reason = (
        "DMControlCartPole has no " + {"bullet": "to_urdf", "analytic": "forward_dynamics"}[engine]
    )
    with pytest.raises(
        ValueError,
        match=rf"CartPoleDMC-v0 does not run on engine '{engine}', but on mujoco: {reason}",
    ):
        gym.make(DMC, engine=engine)


def test_dmc_is_refused_randomized_with_the_reason():
    with pytest.raises(ValueError, match="fixed public definition"):
        gym.make(DMC, domain_randomization=0.1)


@pytest.mark.parametrize(
    ("randomize", "told"),
    [
        (1.5, r"must lie in \[0, 1\), got 1\.5"),
        (1.0, r"must lie in \[0, 1\), got 1\.0"),
        (-0.1, r"must lie in \[0, 1\), got -0\.1"),
        (float("nan"), "must be a finite number, got nan"),
    ],
)
def test_domain_randomization_as_a_number_must_lie_in_zero_to_one(randomize, told):
    with pytest.raises(ValueError, match=f"domain_randomization {told}"):
        gym.make(SWING_UP, domain_randomization=randomize)


def test_an_unknown_action_kind_is_refused():
    with pytest.raises(ValueError, match="'continuous' or 'discrete', got 'diskrete'"):
        gym.make(SWING_UP, action="diskrete")


def test_an_unknown_render_mode_is_refused_by_the_vector():
    with pytest.raises(ValueError, match=r"render_mode must be .* got 'ascii'"):
        make_vec(SWING_UP, 2, render_mode="ascii")


def test_there_must_be_at_least_one_env():
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        make_vec(SWING_UP, 0)


def test_bullet_refuses_more_worlds_than_it_can_hold():
    with pytest.raises(ValueError, match=r"at most 512.*got num_envs=513"):
        make_vec(SWING_UP, 513, engine="bullet")


@pytest.mark.parametrize("shape", [(3,), (1,), (2, 1), (3, 2), (1, 3)])
def test_continuous_actions_of_another_shape_are_refused(swing_up, shape):
    with pytest.raises(ValueError, match=r"Actions must have shape \(3, 1\), got"):
        swing_up.step(np.zeros(shape, dtype=np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_continuous_actions_must_be_finite(swing_up, bad):
    with pytest.raises(ValueError, match=r"Actions must be finite, got .* for env 1"):
        swing_up.step(np.array([[0.0], [bad], [0.0]], dtype=np.float32))


@pytest.mark.parametrize("shape", [(2,), (3, 1), ()])
def test_discrete_actions_of_another_shape_are_refused(discrete, shape):
    with pytest.raises(ValueError, match=r"Actions must have shape \(3,\), got"):
        discrete.step(np.zeros(shape, dtype=np.int64))


@pytest.mark.parametrize("bad", [-1, 5])
def test_discrete_actions_out_of_range_are_refused(discrete, bad):
    with pytest.raises(ValueError, match=rf"must lie in 0\.\.4, got.*{bad}"):
        discrete.step(np.array([0, bad, 1]))


@pytest.mark.parametrize("dtype", [np.float32, np.bool_])
def test_discrete_actions_must_be_integers(discrete, dtype):
    with pytest.raises(ValueError, match=f"must be integers, got {np.dtype(dtype)}"):
        discrete.step(np.ones(3, dtype=dtype))


def test_a_single_envs_action_of_another_shape_is_refused():
    env = gym.make(SWING_UP, engine="analytic").unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match="shape"):
        env.step(np.zeros(2, dtype=np.float32))
    env.close()


@pytest.mark.parametrize(
    "mask", [np.ones(2, bool), np.ones((3, 1), bool), np.ones(3), np.array(1), np.zeros(3, bool)]
)
def test_a_reset_mask_must_be_bool_with_an_entry_per_env_and_a_true_one(swing_up, mask):
    with pytest.raises(ValueError, match=r"must be bool of shape \(3,\) and true somewhere"):
        swing_up.reset(options={"reset_mask": mask})


def test_a_list_of_seeds_must_have_one_per_env(swing_up):
    with pytest.raises(ValueError, match="seed must list 3 seeds, got 2"):
        swing_up.reset(seed=[1, 2])


def test_rendering_without_a_render_mode_warns_and_draws_nothing(swing_up):
    with pytest.warns(UserWarning, match="render_mode='rgb_array'"):
        assert swing_up.render() is None


@pytest.mark.parametrize("mode", ["rgb_array", "human"])
def test_there_is_nothing_to_render_before_the_first_reset(mode):
    env = make_vec(SWING_UP, 2, engine="analytic", render_mode=mode)
    with pytest.raises(gym.error.ResetNeeded, match="before reset"):
        env.render()
    env.close()


def test_an_unknown_keyword_is_a_type_error_with_a_suggestion():
    told = r"unexpected keyword argument 'ctrl_limt'.*Did you mean 'ctrl_limit'"
    for make in (gym.make, lambda env_id, **kwargs: make_vec(env_id, 2, **kwargs)):
        with pytest.raises(TypeError, match=told):
            make(SWING_UP, ctrl_limt=0.5)


def test_a_refused_action_leaves_the_episode_as_it_was(swing_up):
    before = np.hstack(swing_up.qpos_qvel())
    with pytest.raises(ValueError, match="shape"):
        swing_up.step(np.zeros(3))
    np.testing.assert_array_equal(np.hstack(swing_up.qpos_qvel()), before)
    swing_up.step(np.zeros((3, 1)))
