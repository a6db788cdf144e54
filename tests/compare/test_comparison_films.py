"""Films of a comparison: who is in them, and that all begin alike."""

import numpy as np
import pytest
from small_cells import AGENTS

from robolearn.compare.films import film_comparison
from robolearn.video.rollout import Rollout


@pytest.mark.slow
def test_all_side_by_side_begin_in_bitwise_the_same_state(compared):
    rollouts, recording = compared.films["side-by-side"]
    first = recording.sources[0]
    assert [each.step for each in first] == [0] * len(rollouts)
    assert len({each.state.tobytes() for each in first}) == 1
    assert np.any(first[0].state != 0.0)
    ends = {each.state.tobytes() for each in recording.sources[-1]}
    assert len(ends) == len(rollouts)  # and then each goes its own way


def test_side_by_side_are_all_but_twins_on_our_batch_and_the_expert(compared):
    rollouts, _ = compared.films["side-by-side"]
    assert [each.title for each in rollouts] == ["ppo", "sb3-ppo", "dqn", "expert"]
    assert rollouts[-1].success
    assert len(rollouts[-1]) > len(rollouts[2])


def test_progress_begins_untrained_and_in_the_same_state_at_every_stage(compared):
    rollouts, recording = compared.films["progress"]
    assert [each.title for each in rollouts] == ["ppo, 0 steps", "ppo, 2,048 steps"]
    assert len({each.state.tobytes() for each in recording.sources[0]}) == 1


def test_every_seed_of_our_first_agent_is_shown(compared):
    rollouts, _ = compared.films["seeds"]
    assert [each.title for each in rollouts] == ["ppo, seed 0", "ppo, seed 1"]


def test_dqn_is_filmed_on_its_way_and_in_the_end(compared):
    kept = sorted(path.name for path in (compared.out / "rollouts").glob("dqn-*"))
    stages = [f"dqn-seed0-{stage}.npz" for stage in ("000", "010", "030", "100")]
    assert kept == [*stages, "dqn-seed1-100.npz"]
    steps = [Rollout.load(compared.out / "rollouts" / name).title for name in stages]
    assert (steps[0], steps[-1]) == ("dqn, 0 steps", "dqn, 512 steps")
    reached = [int(label.split(", ")[1].split()[0]) for label in steps]
    assert reached == sorted(set(reached))
    assert 51 <= reached[1] < 153 <= reached[2] < 512  # 10 % and 30 % of 512


@pytest.fixture
def painted(monkeypatch):
    """Tell what would be drawn, but do not draw."""
    drawn = {}

    def render_video(rollouts, path, **how):
        drawn[path.stem] = ([each.title for each in rollouts], how)

    monkeypatch.setattr("robolearn.compare.films.render_video", render_video)
    return drawn


def test_captions_say_who_is_shown(compared, painted):
    clips = film_comparison(compared.out, AGENTS, 2, "how it was made")
    assert [clip.path for clip in clips] == [
        compared.out / "videos" / f"{name}.mp4" for name in ("side-by-side", "progress", "seeds")
    ]
    assert [clip.caption for clip in clips] == [
        "From the same initial state: ppo, sb3-ppo, dqn; seed 0.",
        "ppo on its way, from the same initial state; seed 0.",
        "ppo with 2 seeds.",
    ]
    assert {how["comment"] for _, how in painted.values()} == {"how it was made"}


def test_a_twin_alone_is_shown(compared, painted):
    film_comparison(compared.out, ("sb3-ppo-batch", "dqn"), 2, "")
    assert painted["side-by-side"][0] == ["sb3-ppo-batch", "dqn"]
    assert painted["seeds"][0] == ["dqn, seed 0", "dqn, seed 1"]


def test_of_one_seed_there_is_no_film_of_seeds_and_of_nothing_none(compared, painted, tmp_path):
    film_comparison(compared.out, ("ppo",), 1, "")
    assert set(painted) == {"side-by-side", "progress"}
    assert film_comparison(tmp_path, ("ppo",), 2, "") == []
