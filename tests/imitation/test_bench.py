"""What demonstrations buy, measured on something small, from the command line to the pictures."""

import json

import numpy as np
import pytest
from PIL import Image

from robolearn.cli import main
from robolearn.compare.statistics import estimate_iqm
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.imitation.bench import Bench, BenchConfig, Outcome, bench, drawn
from robolearn.imitation.demos.record import RecordConfig, record_demos
from robolearn.imitation.demos.storage import read_demos
from robolearn.imitation.report import bench_rows, write_run_report


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    out = tmp_path_factory.mktemp("demos") / "balance-v0"
    env = EnvConfig(id="robolearn/CartPoleBalance-v0", engine="analytic")
    record_demos(RecordConfig(env=env, expert="lqr", out=out, episodes=2))
    return out


def outcome(learner, count, seed, curve, final):
    return Outcome(learner=learner, count=count, seed=seed, curve=curve, final=final, parameters=12)


@pytest.mark.slow
def test_a_bench_trains_every_learner_and_leaves_table_and_pictures(demos, tmp_path, capsys):
    out = tmp_path / "bench"
    sizes = ("--steps", "64", "--scratch-steps", "1024", "--sb3-steps", "200")
    asked = ("--learners", "bc", "mixed", "--counts", "1", "2", "--seeds", "1", *sizes)
    assert main(("bench-demos", str(demos), *asked, "--out", str(out), "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row[:3] for row in told["rows"]] == [
        ["bc", "1", "1"],
        ["mixed", "1", "1"],
        ["bc", "2", "1"],
        ["mixed", "2", "1"],
        ["DQN from scratch", "0", "1"],
        ["SB3 DQN", "0", "1"],
        ["SB3 DQN, preloaded", "2", "1"],
    ]
    assert {"report.md", "returns.png", "curves.png", "outcomes.jsonl", "runs"} == {
        path.name for path in out.iterdir()
    }
    for name in ("returns.png", "curves.png"):
        picture = Image.open(out / name)
        assert "robolearn" in picture.text["Comment"]
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50  # something is drawn
    before = (out / "report.md").read_text()
    assert main(("bench-demos", str(demos), *asked, "--out", str(out))) == 2
    assert "already holds something" in capsys.readouterr().err
    assert (out / "report.md").read_text() == before


def test_the_table_tells_by_how_many_steps_learning_is_shorter(tmp_path):
    # The expert returns 100 and chance 0. With demonstrations 90 is reached at 0 and at 50 steps,
    # the median being 25; from scratch at 100: three quarters are saved. The starts are 0.9 and
    # 0.8, the ends 1.0 both, and of two values the interquartile mean is the mean.
    curves = [[(0, 90.0), (50, 95.0)], [(0, 80.0), (50, 90.0)]]
    outcomes = [outcome("dqfd", 1, seed, curve, 100.0) for seed, curve in enumerate(curves)]
    outcomes.append(outcome("DQN from scratch", 0, 0, [(0, 1.0), (100, 91.0)], 91.0))
    config = BenchConfig(demos=tmp_path, out=tmp_path, learners=("dqfd",), threshold=0.9)
    env = EnvConfig(id="CartPole-v1")
    found = Bench(config=config, env=env, random=0.0, expert=100.0, outcomes=outcomes)
    shown, scratch = bench_rows(found)
    assert shown == (
        "dqfd",
        "1",
        "2",
        "0.85 [0.80, 0.90]",
        "1.00 [1.00, 1.00]",
        "25",
        "75%",
        "0.00 [0.00, 0.00]",
        "1.09 [1.06, 1.12]",
        "12",
    )
    assert scratch[3:7] == ("-", "0.91", "100", "-")


def test_every_seed_draws_its_own_demonstrations(demos):
    found = read_demos(demos)
    picks = {id(drawn(found, 1, seed).episodes[0]) for seed in range(10)}
    assert picks == {id(episode) for episode in found.episodes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": (1, 3)}, "has 2 episodes, 3 were asked for in counts"),
        ({"learners": ("dqfq",)}, "dqfd"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"learners": ()}, "Say which learners and counts"),
    ],
)
def test_a_bench_that_cannot_be_is_refused_and_leaves_nothing(demos, tmp_path, changes, message):
    with pytest.raises(RobolearnError, match=message):
        bench(BenchConfig(demos=demos, out=tmp_path / "bench", **changes))
    assert not (tmp_path / "bench").exists()


@pytest.mark.slow
def test_a_run_reports_what_its_demonstrations_bought(demos, tmp_path, capsys):
    run = tmp_path / "run"
    asked = ("--demos", str(demos), "--steps", "64", "--updates", "50", "--run", str(run))
    assert (
        main(("imitate", "ppo", *asked, "--num-envs", "4", "--batch-size", "64", "--report")) == 0
    )
    assert "return at 0 steps" in capsys.readouterr().out
    assert (run / "curve.png").is_file()
    text = (run / "report.md").read_text()
    assert "| learner | ppo |" in text
    assert "| their mean return | 500.0 |" in text


def test_a_run_without_demonstrations_has_nothing_to_report(tmp_path):
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(RobolearnError, match="did not begin with demonstrations"):
        write_run_report(tmp_path)


def test_the_interval_of_an_interquartile_mean_holds_it_and_ignores_what_lies_far_out():
    # Of 8 values two are cut off at each end: (3 + 4 + 5 + 9) / 4 = 5.25.
    found = estimate_iqm([100, 3, 9, 1, 4, -50, 5, 80], np.random.default_rng(0))
    assert found.mean == 5.25
    assert found.low < 5.25 < found.high
    # With all alike but one there is hardly a resample in which that one is not cut off.
    assert estimate_iqm([1.0] * 9 + [1000.0], np.random.default_rng(0))[:2] == (1.0, 1.0)
