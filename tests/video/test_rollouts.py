"""Episodes kept as states: what is in them, on disk and back, and what strangers put there."""

import json

import numpy as np
import pytest
from controllers import IDLE, RIGHT, Constant, Thinks

from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.files import read_arrays, write_arrays
from robolearn.imitation.experts import expert_for
from robolearn.video.play import play, play_made
from robolearn.video.rollout import Rollout

SWING_UP = EnvConfig(id="robolearn/CartPoleSwingUp-v0", engine="mujoco")
BALANCE = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    rollout = play(Thinks(1), BALANCE, label="right", seed=4)
    path = tmp_path_factory.mktemp("kept") / "a.npz"
    rollout.save(path)
    return rollout, path


def test_states_are_those_of_the_environment_lived_through():
    rollout = play(RIGHT, SWING_UP, label="right", seed=4, max_steps=20)
    env = SWING_UP.make()
    env.reset(seed=4)
    for t in range(21):
        qpos, qvel = env.unwrapped.vector.state()
        np.testing.assert_array_equal(rollout.states["qpos"][t], qpos[0])
        np.testing.assert_array_equal(rollout.states["qvel"][t], qvel[0])
        if t < 20:
            assert env.step(RIGHT.action)[1] == rollout.rewards[t]
    env.close()
    assert (len(rollout), rollout.fps, rollout.ending) == (20, 50, "")
    assert (rollout.terminated, rollout.truncated, rollout.success) == (False, False, None)


def test_a_pole_that_is_pushed_to_one_side_fell(kept):
    rollout, _ = kept
    # Balance pays 1 a step, and a cart pushed always to one side drops the pole early.
    assert rollout.total == len(rollout) < 100
    assert (rollout.terminated, rollout.success, rollout.ending) == (True, False, "fell")


def test_an_expert_succeeds_and_what_never_moves_is_kept_once():
    nav = EnvConfig(id="robolearn/NavLidar-v0", engine="analytic", kwargs={"level": 1})
    rollout = play_made(expert_for, nav, label="expert", seed=0)
    assert (rollout.success, rollout.ending) == (True, "success")
    assert rollout.states["qpos"].shape[0] == len(rollout) + 1
    assert rollout.states["goal"].shape == (1, 2)
    np.testing.assert_array_equal(rollout.state(5)["goal"], rollout.states["goal"])


def test_a_crash_into_an_obstacle_is_a_collision():
    nav = EnvConfig(id="robolearn/NavLidar-v0", engine="analytic", kwargs={"level": 1})
    ahead = Constant(np.array([1.0, 0.0], np.float32))
    endings = {play(ahead, nav, label="ahead", seed=seed).ending for seed in range(4)}
    assert "collision" in endings


def test_thoughts_are_those_before_each_step(kept):
    rollout, _ = kept
    # Its value is ten times the cart's position, which is the first of an observation.
    np.testing.assert_allclose(
        rollout.thoughts["value"], 10 * rollout.states["qpos"][:-1, 0], rtol=1e-6
    )
    np.testing.assert_array_equal(rollout.thoughts["q"], [[1.0, 2.0]] * len(rollout))
    assert "probabilities" not in rollout.thoughts


def test_a_memory_is_carried_from_step_to_step():
    class Counts(Constant):
        seen: list[tuple[object, bool]] = []  # noqa: RUF012

        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            self.seen.append((state, bool(episode_start[0])))
            return self.action[None], 1 if state is None else state + 1

    play(Counts(IDLE.action), SWING_UP, label="counts", seed=0, max_steps=3)
    assert Counts.seen == [(None, True), (1, False), (2, False)]


def test_a_rollout_comes_back_as_it_was_kept(kept, tmp_path):
    rollout, path = kept
    again = Rollout.load(path)
    for name in ("label", "env", "seed", "fps", "terminated", "truncated", "success", "ending"):
        assert getattr(again, name) == getattr(rollout, name)
    for name in ("states", "thoughts"):
        ours, theirs = getattr(rollout, name), getattr(again, name)
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])
    np.testing.assert_array_equal(again.actions, rollout.actions)
    np.testing.assert_array_equal(again.rewards, rollout.rewards)
    again.save(tmp_path / "b.npz")
    assert (tmp_path / "b.npz").read_bytes() == path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["b.npz"]


def test_what_cannot_be_written_leaves_what_was_there(kept, tmp_path, monkeypatch):
    rollout, _ = kept
    path = tmp_path / "a.npz"
    path.write_bytes(b"mine")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("robolearn.video.stored.write_arrays", full)
    with pytest.raises(OSError, match="No space"):
        rollout.save(path)
    assert path.read_bytes() == b"mine"
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


def edited(path, tmp_path, **changes):
    """Return a copy of a rollout with other arrays, or of ``facts`` with other entries."""
    arrays = read_arrays(path)
    facts = json.loads(arrays["facts"].tobytes())
    for name, change in changes.items():
        if name == "facts":
            facts |= change
        elif change is None:
            arrays.pop(name.replace("__", "."))
        else:
            arrays[name.replace("__", ".")] = change
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    copy = tmp_path / "edited.npz"
    write_arrays(copy, arrays)
    return copy


def test_the_editing_itself_does_no_harm(kept, tmp_path):
    assert Rollout.load(edited(kept[1], tmp_path)).label == "right"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rewards": None}, "is no rollout"),
        ({"rewards": np.zeros(0)}, "has 0 rewards"),
        ({"rewards": np.zeros((3, 3))}, "rewards has shape"),
        ({"actions": np.zeros((2, 1))}, "actions has shape"),
        ({"state__qpos": None}, "states without qpos and qvel"),
        ({"state__qpos": np.zeros((4, 2))}, "state qpos has shape"),
        ({"state__qpos": np.full((1, 2), np.nan)}, "state qpos holds numbers that are not finite"),
        ({"state__evil": np.zeros((1, 2))}, "unknown state 'evil'"),
        ({"thought__value": np.zeros(3)}, "thought value has shape"),
        ({"thought__value": np.zeros((3, 3))}, "no thought 'value' of shape"),
        ({"thought__dream": np.zeros(3)}, "no thought 'dream'"),
        ({"facts": {"label": 5}}, "label must be a line of text, got 5"),
        ({"facts": {"label": "a\nb"}}, "label must be a line of text"),
        ({"facts": {"fps": 0}}, "fps must lie in"),
        ({"facts": {"fps": float("nan")}}, "fps must lie in"),
        ({"facts": {"seed": -1}}, "seed must lie in"),
        ({"facts": {"seed": 10**400}}, "seed must lie in"),
        ({"facts": {"terminated": 1}}, "terminated must be one of"),
        ({"facts": {"ending": "<b>"}}, "ending must be one of"),
        ({"facts": {"env": None}}, "does not say which environment"),
        ({"facts": {"env": {"id": "os:system"}}}, "os:system"),
        (
            {"facts": {"env": {"id": "robolearn/NavLidar-v0", "kwargs": {"layout": "/etc/x"}}}},
            "no path",
        ),
    ],
    ids=str,
)
def test_what_a_stranger_made_is_refused_in_a_line(kept, tmp_path, changes, words):
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
        play(IDLE, SWING_UP, label="idle", max_steps=0)
