"""Rollouts: what is recorded, saved and loaded, and which files are refused."""

import json

import numpy as np
import pytest
from controllers import IDLE, RIGHT, Constant, Thinks

from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.files import read_arrays, write_arrays
from robolearn.imitation.experts import expert_for
from robolearn.video.recording import record_episode, record_episode_with
from robolearn.video.rollout import Rollout

SWING_UP = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="mujoco")
BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    rollout = record_episode(Thinks(1), BALANCE, title="right", seed=4)
    path = tmp_path_factory.mktemp("kept") / "a.npz"
    rollout.save(path)
    return rollout, path


def test_render_states_are_those_of_a_stepped_environment():
    rollout = record_episode(RIGHT, SWING_UP, title="right", seed=4, max_steps=20)
    env = SWING_UP.make()
    env.reset(seed=4)
    for t in range(21):
        qpos, qvel = env.unwrapped.vector_env.qpos_qvel()
        np.testing.assert_array_equal(rollout.render_states["qpos"][t], qpos[0])
        np.testing.assert_array_equal(rollout.render_states["qvel"][t], qvel[0])
        if t < 20:
            assert env.step(RIGHT.action)[1] == rollout.rewards[t]
    env.close()
    assert (len(rollout), rollout.fps, rollout.end_reason) == (20, 50, "unfinished")
    assert (rollout.terminated, rollout.truncated, rollout.success) == (False, False, None)


def test_a_pole_that_is_pushed_to_one_side_ends_out_of_bounds(kept):
    rollout, _ = kept
    # Balance pays 1 a step, and a cart pushed always to one side drops the pole early.
    assert rollout.episode_return == len(rollout) < 100
    assert (rollout.terminated, rollout.success, rollout.end_reason) == (
        True,
        False,
        "out_of_bounds",
    )


def test_an_expert_succeeds_and_constant_states_are_stored_once():
    nav = EnvConfig(id="robolearn/NavLidar-v0", engine="analytic", kwargs={"level": 1})
    rollout = record_episode_with(expert_for, nav, title="expert", seed=0)
    assert (rollout.success, rollout.end_reason) == (True, "success")
    assert rollout.render_states["qpos"].shape[0] == len(rollout) + 1
    assert rollout.render_states["goal"].shape == (1, 2)
    np.testing.assert_array_equal(rollout.render_state(5)["goal"], rollout.render_states["goal"])


def test_a_crash_into_an_obstacle_is_a_collision():
    nav = EnvConfig(id="robolearn/NavLidar-v0", engine="analytic", kwargs={"level": 1})
    ahead = Constant(np.array([1.0, 0.0], np.float32))
    endings = {record_episode(ahead, nav, title="ahead", seed=seed).end_reason for seed in range(4)}
    assert "collision" in endings


def test_policy_outputs_are_those_before_each_step(kept):
    rollout, _ = kept
    # Its value is ten times the cart's position, which is the first of an observation.
    np.testing.assert_allclose(
        rollout.policy_outputs["value"], 10 * rollout.render_states["qpos"][:-1, 0], rtol=1e-6
    )
    np.testing.assert_array_equal(rollout.policy_outputs["q_values"], [[1.0, 2.0]] * len(rollout))
    assert "action_probs" not in rollout.policy_outputs


def test_a_recurrent_state_is_passed_from_step_to_step():
    class Counts(Constant):
        seen: list[tuple[object, bool]] = []  # noqa: RUF012

        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            self.seen.append((state, bool(episode_start[0])))
            return self.action[None], 1 if state is None else state + 1

    record_episode(Counts(IDLE.action), SWING_UP, title="counts", seed=0, max_steps=3)
    assert Counts.seen == [(None, True), (1, False), (2, False)]


def test_a_rollout_comes_back_as_it_was_kept(kept, tmp_path):
    rollout, path = kept
    again = Rollout.load(path)
    for name in ("title", "env", "seed", "fps", "terminated", "truncated", "success", "end_reason"):
        assert getattr(again, name) == getattr(rollout, name)
    for name in ("render_states", "policy_outputs"):
        ours, theirs = getattr(rollout, name), getattr(again, name)
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])
    np.testing.assert_array_equal(again.actions, rollout.actions)
    np.testing.assert_array_equal(again.rewards, rollout.rewards)
    again.save(tmp_path / "b.npz")
    assert (tmp_path / "b.npz").read_bytes() == path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["b.npz"]


def test_a_failed_save_keeps_the_file_that_was_there(kept, tmp_path, monkeypatch):
    rollout, _ = kept
    path = tmp_path / "a.npz"
    path.write_bytes(b"mine")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("robolearn.video.rollout_io.write_arrays", full)
    with pytest.raises(OSError, match="No space"):
        rollout.save(path)
    assert path.read_bytes() == b"mine"
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


def edited(path, tmp_path, **changes):
    """Return a copy of a rollout with other arrays, or of ``metadata`` with other entries."""
    arrays = read_arrays(path)
    metadata = json.loads(arrays["metadata"].tobytes())
    for name, change in changes.items():
        if name == "metadata":
            metadata |= change
        elif change is None:
            arrays.pop(name.replace("__", "."))
        else:
            arrays[name.replace("__", ".")] = change
    arrays["metadata"] = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    copy = tmp_path / "edited.npz"
    write_arrays(copy, arrays)
    return copy


def test_an_edit_without_changes_is_loaded(kept, tmp_path):
    assert Rollout.load(edited(kept[1], tmp_path)).title == "right"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rewards": None}, "is no rollout"),
        ({"rewards": np.zeros(0)}, "has 0 rewards"),
        ({"rewards": np.zeros((3, 3))}, "rewards has shape"),
        ({"actions": np.zeros((2, 1))}, "actions has shape"),
        ({"render_states__qpos": None}, "render states without qpos and qvel"),
        ({"render_states__qpos": np.zeros((4, 2))}, "render_states.qpos has shape"),
        (
            {"render_states__qpos": np.full((1, 2), np.nan)},
            "render_states.qpos holds numbers that are not finite",
        ),
        ({"render_states__0": np.zeros((1, 2))}, "unknown array 'render_states.0'"),
        ({"policy_outputs__value": np.zeros(3)}, "policy_outputs.value has shape"),
        ({"policy_outputs__value": np.zeros((3, 3))}, "policy_outputs.value has shape"),
        ({"policy_outputs__dream": np.zeros(3)}, "unknown array 'policy_outputs.dream'"),
        ({"metadata": {"title": 5}}, "title must be a string, got 5"),
        ({"metadata": {"title": "a\nb"}}, "title must be a line of text"),
        ({"metadata": {"fps": 0}}, "fps must lie in"),
        ({"metadata": {"fps": float("nan")}}, "fps must be a number"),
        ({"metadata": {"seed": -1}}, "seed must lie in"),
        ({"metadata": {"seed": 10**400}}, "seed must be an integer of 64 bits"),
        ({"metadata": {"terminated": 1}}, "terminated must be true or false"),
        ({"metadata": {"end_reason": "<b>"}}, "end_reason must be one of"),
        ({"metadata": {"env": None}}, "does not say which environment"),
        ({"metadata": {"env": {"id": "os:system"}}}, "os:system"),
        (
            {"metadata": {"env": {"id": "robolearn/NavLidar-v0", "kwargs": {"layout": "/etc/x"}}}},
            "no path",
        ),
    ],
    ids=str,
)
def test_an_edited_file_is_refused_in_a_line(kept, tmp_path, changes, words):
    with pytest.raises(RobolearnError, match=words) as told:
        Rollout.load(edited(kept[1], tmp_path, **changes))
    assert "\n" not in str(told.value)


def test_a_damaged_file_is_refused(kept, tmp_path):
    content = bytearray(kept[1].read_bytes())
    content[200] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(RobolearnError, match="damaged"):
        Rollout.load(tmp_path / "a.npz")


def test_no_steps_are_refused():
    with pytest.raises(RobolearnError, match="max_steps must be at least 1, got 0"):
        record_episode(IDLE, SWING_UP, title="idle", max_steps=0)


def test_a_rollout_of_an_older_version_is_refused_in_a_line(tmp_path):
    text = np.frombuffer(b"{}", np.uint8)
    old = {"facts": text, "actions": np.zeros((3, 1)), "rewards": np.zeros(3)}
    write_arrays(tmp_path / "old.npz", old)
    with pytest.raises(RobolearnError, match="is a rollout of an older version") as told:
        Rollout.load(tmp_path / "old.npz")
    assert "\n" not in str(told.value)
