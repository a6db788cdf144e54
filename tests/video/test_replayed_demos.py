"""Videos of replayed demonstrations."""

from dataclasses import replace

import numpy as np
import pytest
from playback import frames, number_of_frames, properties

from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.imitation.demos.episodes import Demonstrations
from robolearn.imitation.demos.human import Tape
from robolearn.imitation.demos.replay import replay

SWING_UP = EnvConfig(id="robolearn/CartPoleSwingUp-v0")


@pytest.fixture(scope="module")
def shaken():
    """Two episodes of 25 steps of a cart that is shaken: cut off, in the recording's sense."""
    env = SWING_UP.make()
    episodes = []
    for seed in (0, 1):
        tape = Tape(env, seed)
        for t in range(25):
            tape.step(np.array([1.0 if t % 10 < 5 else -1.0], dtype=np.float32))
        episodes.append(tape.demonstration())
    env.close()
    return Demonstrations(
        env=SWING_UP,
        observation_space=env.observation_space,
        action_space=env.action_space,
        episodes=episodes,
    )


@pytest.mark.slow
def test_a_video_shows_every_step_in_real_time(shaken, tmp_path):
    out = tmp_path / "again.mp4"
    again = replay(shaken, [0, 1], SWING_UP, out=out)
    assert again.film.steps == 50
    # Of either the start and 25 steps, and a second of 50 frames for its end.
    assert again.film.frames == 2 * (26 + 50)
    assert again.film.returns == pytest.approx([told.total for told in again.episodes])
    assert [told.exact for told in again.episodes] == [True, True]
    assert properties(out).fps == 50  # steps of 0.02 s
    assert number_of_frames(out) == again.film.frames


@pytest.mark.slow
def test_a_video_shows_the_recorded_state(shaken, tmp_path):
    # After 25 steps it is most like that of an environment driven by hand.
    out = tmp_path / "again.mp4"
    replay(shaken, [1], SWING_UP, out=out)
    env = SWING_UP.make(render_mode="rgb_array")
    env.reset(seed=1)
    for action in shaken.episodes[1].action:
        env.step(action)
    expected = env.render().astype(np.int16)
    env.close()
    below = slice(120, None)  # the caption is above
    away = np.abs(frames(out)[:26, below] - expected[below]).mean(axis=(1, 2, 3))
    assert away.argmin() == 25


@pytest.mark.slow
def test_a_video_is_not_written_over_another(shaken, tmp_path):
    out = tmp_path / "again.mp4"
    out.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="--overwrite"):
        replay(shaken, [0], SWING_UP, out=out)
    assert out.read_bytes() == b"mine"
    replay(shaken, [0], SWING_UP, out=out, overwrite=True)
    assert number_of_frames(out) == 76


def test_without_a_video_nothing_is_recorded(shaken, monkeypatch):
    monkeypatch.setattr("robolearn.imitation.demos.replay.EpisodeRecorder", None)
    assert [told.exact for told in replay(shaken, [0, 1], SWING_UP).episodes] == [True, True]


def test_a_refused_replay_leaves_no_video(shaken, tmp_path):
    out = tmp_path / "again.mp4"
    other = replace(shaken, episodes=[replace(shaken.episodes[0], seed=9)])
    with pytest.raises(RobolearnError, match="off its start"):
        replay(other, [0], SWING_UP, out=out)
    assert list(tmp_path.iterdir()) == []
