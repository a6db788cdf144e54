"""Agents trained on one physics and tested on others, from run folders to reports."""

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from robolearn import PPO, PPOConfig
from robolearn.agents.load import load_agent
from robolearn.cli import main
from robolearn.compare.transfer import Physics, Transfer, TransferConfig
from robolearn.compare.transfer_plot import heatmap
from robolearn.compare.transfer_report import FILES, markdown, notes, page, terminal_table
from robolearn.config import to_dict
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnWarning
from robolearn.evaluation import evaluate
from robolearn.runs.run import RunFolder
from robolearn.session import TrainConfig

BALANCE, SWINGUP = "robolearn/CartPoleBalance-v0", "robolearn/CartPoleSwingUp-v0"
LIDAR, ROVER = "robolearn/NavLidar-v0", "robolearn/NavRover-v0"
SMALL = PPOConfig(num_envs=2, n_steps=32, batch_size=64, hidden_sizes=(8,))


def make_run(path, env_id=BALANCE, engine="mujoco", seed=0, hyper=SMALL, **kwargs):
    """Make a run of an agent that has learned next to nothing; return its folder."""
    env = EnvConfig(id=env_id, engine=engine, kwargs=kwargs)
    config = TrainConfig(agent="ppo", env=env, steps=64, run=path, seed=seed, hyper=to_dict(hyper))
    agent = PPO(env, config=hyper, seed=seed)
    agent.learn(64)
    folder = RunFolder.create(path, config)
    agent.save(folder.checkpoint(64))
    folder.point("last", folder.checkpoint(64))
    folder.write_evaluation({})  # it has come to its end
    agent.close()
    return path


def measure(*runs, **options):
    return Transfer(TransferConfig(runs=runs, device="cpu", **options)).measure()


RUNS = {
    "zero": {},
    "one": {"seed": 1},
    "bullet": {"engine": "bullet"},
    "other": {"engine": "bullet", "bullet_damping": True, "domain_randomization": 0.1},
    "swingup": {"env_id": SWINGUP},
    "lidar": {"env_id": LIDAR, "level": 0},
    "lidar 1": {"env_id": LIDAR, "level": 1},
    "rover": {"env_id": ROVER, "level": 0},
    "foreign": {"env_id": "CartPole-v1", "engine": None},
}


class Runs(dict):
    """Folders of runs by name, each made when it is first asked for."""

    def __init__(self, folder):
        self.folder = folder

    def __missing__(self, name):
        self[name] = make_run(self.folder / name.replace(" ", ""), **RUNS[name])
        return self[name]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def matrix(runs):
    """Two rows and all seven columns of the balance task."""
    return measure(runs["zero"], runs["bullet"], runs["one"], episodes=6, seed=3)


def alone(path, engine, episodes=6, seed=3, **kwargs):
    """Return what an agent does in an environment made by hand."""
    agent = load_agent(path, device="cpu")
    env = EnvConfig(id=agent.envs.id, engine=engine, kwargs=kwargs)
    return evaluate(agent, env, episodes=episodes, seed=seed)


@pytest.mark.slow
def test_columns_are_matched_physics_then_default_damping_then_randomized(matrix):
    assert [str(physics) for physics in matrix.tested] == [
        "mujoco",
        "bullet",
        "analytic",
        "bullet, default damping",
        "mujoco, randomized 0.2",
        "bullet, randomized 0.2",
        "analytic, randomized 0.2",
    ]


def test_runs_that_differ_in_their_seed_alone_are_one_row(matrix, runs):
    mujoco, bullet = matrix.trained
    assert (mujoco.label, mujoco.seeds) == ("ppo on mujoco (2 seeds)", (0, 1))
    assert mujoco.runs == (runs["zero"], runs["one"])
    assert (bullet.label, bullet.seeds, bullet.steps) == ("ppo on bullet (1 seed)", (0,), 64)


def test_a_cell_of_two_seeds_is_their_mean_with_the_interval_from_one_to_the_other(matrix, runs):
    # Of two seeds a resample is twice the same one in half of all cases: the interval is both.
    one, two = (
        alone(runs[name], "analytic", domain_randomization=0.2).mean for name in ("zero", "one")
    )
    cell = matrix.cell(0, 6)
    assert str(cell.tested) == "analytic, randomized 0.2"
    assert cell.by_run["return"] == (one, two)
    assert one != two
    assert cell.figures["return"] == pytest.approx(((one + two) / 2, min(one, two), max(one, two)))
    assert cell.interval_over == "seeds"


def test_a_cell_of_one_seed_has_an_interval_over_its_episodes(matrix, runs):
    found = alone(runs["bullet"], "mujoco")
    mean, low, high = matrix.cell(1, 0).figures["return"]
    assert matrix.cell(1, 0).interval_over == "episodes"
    assert mean == pytest.approx(found.mean)
    # Student's 95 % of 6 values is 2.57 standard errors; a resample of 6 does not reach further
    # than the least and the greatest.
    error = found.returns.std(ddof=1) / np.sqrt(6)
    assert low == pytest.approx(mean - 2.57 * error, abs=error)
    assert high == pytest.approx(mean + 2.57 * error, abs=error)
    assert found.returns.min() <= low < mean < high <= found.returns.max()


def test_success_of_one_seed_has_an_interval_even_if_none_of_its_episodes_was_one(matrix):
    # Wilson's, of 0 of 6 with z = 1.96: from 0 to z^2 / (6 + z^2) = 3.8415 / 9.8415 = 0.3903.
    assert matrix.cell(1, 0).figures["success"] == pytest.approx((0.0, 0.0, 0.3903), abs=1e-4)


def test_a_run_that_was_stopped_is_pointed_out(runs, tmp_path):
    stopped = shutil.copytree(runs["zero"], tmp_path / "stopped")
    (stopped / "eval.json").unlink()
    with pytest.warns(RobolearnWarning, match="stopped has not come to its end"):
        measure(stopped, engines=("analytic",), domain_randomization=0.0, episodes=1)


@pytest.mark.slow
def test_default_damping_and_matched_physics_are_what_they_are_called(runs):
    matrix = measure(runs["swingup"], engines=("bullet",), domain_randomization=0.0, episodes=2)
    matched, damped = matrix.cells
    how = {"episodes": 2, "seed": 0}
    assert matched.by_run["return"] == (alone(runs["swingup"], "bullet", **how).mean,)
    expected = alone(runs["swingup"], "bullet", bullet_damping=True, **how).mean
    assert damped.by_run["return"] == (expected,)
    assert matched.by_run["return"] != damped.by_run["return"]


def test_what_an_agent_was_trained_on_does_not_follow_it_elsewhere(runs):
    matrix = measure(
        runs["other"], engines=("mujoco", "bullet"), domain_randomization=0.0, episodes=2
    )
    assert matrix.trained[0].label == "ppo on bullet, default damping, randomized 0.1 (1 seed)"
    assert matrix.trained[0].physics == Physics(
        engine="bullet", bullet_damping=True, domain_randomization=0.1
    )
    assert not any(cell.at_home for cell in matrix.cells)
    expected = [
        alone(runs["other"], name, episodes=2, seed=0).mean for name in ("mujoco", "bullet")
    ]
    assert [cell.by_run["return"] for cell in matrix.cells[:2]] == [(mean,) for mean in expected]


def test_navigation_is_tested_on_test_layouts_and_told_by_spl(runs):
    matrix = measure(runs["lidar"], engines=("analytic",), domain_randomization=0.0, episodes=3)
    expected = alone(runs["lidar"], "analytic", episodes=3, seed=0, level=0, split="test")
    (cell,) = matrix.cells
    assert cell.by_run["return"] == (expected.mean,)
    assert cell.by_run["spl"] == (expected.means()["spl"],)
    assert (matrix.task, matrix.measures) == ({"level": 0}, ("success", "return", "spl"))
    assert "layouts of the test split" in notes(matrix)[0]
    assert "sensors are disturbed" not in " ".join(notes(matrix))


def test_a_public_definition_has_the_one_physics_it_is_defined_on(tmp_path):
    matrix = measure(make_run(tmp_path / "run", "robolearn/CartPoleDMC-v0"), episodes=1)
    assert matrix.tested == (Physics(engine="mujoco"),)
    assert "It is a fixed public definition, which cannot be randomized." in notes(matrix)


def test_rows_alike_in_name_are_told_apart_by_their_runs(runs, tmp_path):
    name = "x|<script>alert(1)<_`*$"
    hostile = make_run(tmp_path / name, hyper=replace(SMALL, gamma=0.5))
    matrix = measure(
        runs["zero"], hostile, engines=("analytic",), domain_randomization=0.0, episodes=1
    )
    labels = [trained.label for trained in matrix.trained]
    assert labels == [f"ppo on mujoco (1 seed): {path}" for path in (runs["zero"], hostile)]
    for text in (markdown(matrix, {"command": name}), page(matrix, {"command": name})):
        assert "alert(1)" in text
        assert "<script>alert" not in text
    lines = [line for line in markdown(matrix, {}).splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in lines} == {3}
    heatmap(matrix).canvas.draw()  # a $ would begin a formula


def test_the_heatmap_has_a_number_in_every_cell_and_a_frame_where_it_was_trained(matrix):
    success, returns = heatmap(matrix).axes
    written = [text.get_text() for text in returns.texts]
    for cell in matrix.cells:
        mean, low, high = cell.figures["return"]
        assert f"{mean:.1f}" in written
        assert f"[{low:.1f}, {high:.1f}]" in written
    frames = [patch for patch in success.patches if not patch.get_fill()]
    # The first row's own engine is the first column, the second row's the second one.
    assert [(int(f.get_x()), int(f.get_y())) for f in frames] == [(0, 0), (1, 1)]
    engines = [text for text in written if text in ("mujoco", "bullet", "analytic")]
    assert engines == [physics.engine for physics in matrix.tested]


def test_markdown_has_a_table_for_each_measure_and_says_what_intervals_are(matrix):
    text = markdown(matrix, {"command": "robolearn transfer"})
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ppo")]
    assert len(rows) == 4  # success and return of two rows
    mean, low, high = matrix.cell(0, 0).figures["return"]
    assert rows[2][1] == f"**{mean:.1f} [{low:.1f}, {high:.1f}]**"
    assert not rows[2][2].startswith("**")
    assert "Of several seeds: mean over seeds" in text
    assert "Of one seed: mean [95 % interval over its episodes, of success Wilson's" in text
    assert "Intervals over fewer than five seeds are too short" in text
    assert "- command: robolearn transfer" in text


def test_80_columns_of_terminal_show_every_cell(matrix):
    console = Console(width=80)
    with console.capture() as captured:
        console.print(terminal_table(matrix))
    shown = captured.get()
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    for cell in matrix.cells:
        mean, low, high = cell.figures["return"]
        assert f"{mean:.1f} [{low:.1f}, {high:.1f}]" in shown
    assert shown.count("bullet, default damping") == 2


def test_the_command_writes_a_report_and_prints_the_same_figures(runs, tmp_path, capsys):
    out = tmp_path / "out"
    names = ("zero", "one", "bullet")
    command = ["transfer", *(str(runs[name]) for name in names), "--engines", "analytic"]
    command += ["--episodes", "3", "--domain-randomization", "0.3", "--out", str(out), "--json"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert {path.name for path in out.iterdir()} == set(FILES)
    kept = json.loads((out / "transfer.json").read_text())
    assert kept.pop("made")["command"]
    assert kept == told
    assert [(cell["engine"], cell["domain_randomization"]) for cell in told["cells"]] == [
        ("analytic", 0.0),
        ("analytic", 0.3),
    ] * 2
    first = told["cells"][0]
    assert first["return"] == pytest.approx(np.mean(first["by_run"]["return"]))
    with (out / "transfer.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["return"]) for line in lines] == [cell["return"] for cell in told["cells"]]
    assert [line["interval_over"] for line in lines] == ["seeds"] * 2 + ["episodes"] * 2
    report = (out / "report.html").read_text()
    assert report.count("<svg") == 1
    assert "analytic, randomized 0.3" in report
    assert main(command) == 2
    assert "already holds something" in capsys.readouterr().err


def without(part):
    """Return what makes a run without some of it."""

    def make(runs, folder):
        whole = shutil.copytree(runs["zero"], folder / "run")
        found = whole / part
        shutil.rmtree(found) if found.is_dir() else found.unlink()
        return [whole]

    return make


def pick(*names):
    return lambda runs, _: [runs[name] for name in names]


@pytest.mark.parametrize(
    ("chosen", "options", "told"),
    [
        (pick("zero", "swingup"), [], f"trained in {BALANCE}, .*swingup in {SWINGUP}"),
        (pick("lidar", "lidar 1"), [], "lidar was trained with level 0, .*lidar1 with level 1"),
        (pick("zero", "zero"), [], "are the same training, seed 0 included"),
        (pick("foreign"), [], "foreign was trained in CartPole-v1, which has no engines"),
        (pick("rover"), ["--engines", "analytic"], "not defined on engine 'analytic', only on"),
        (pick("zero"), ["--engines", "mujco"], "Did you mean 'mujoco'"),
        (pick("zero"), ["--episodes", "0"], "episodes must be at least 1, got 0"),
        (
            pick("zero"),
            ["--domain-randomization", "1"],
            r"domain_randomization must lie in \[0, 1\), got 1.0",
        ),
        (pick("zero"), ["--seed", "-1"], "seed must lie in 0..99999, got -1"),
        (pick(), [], "Transfer of what"),
        (lambda _, folder: [folder / "nothing"], [], "nothing holds no run"),
        (without("config.yaml"), [], "run holds no run"),
        (without("checkpoints"), [], "has no checkpoint yet"),
        (without("checkpoints/000000064/manifest.json"), [], "000000064"),
    ],
)
def test_what_cannot_be_tested_is_refused_in_one_line_and_nothing_is_written(
    runs, tmp_path, capsys, chosen, options, told
):
    paths = [str(path) for path in chosen(runs, tmp_path)]
    out = tmp_path / "out"
    assert main(["transfer", *paths, *options, "--out", str(out)]) == 2
    printed, err = capsys.readouterr()
    assert printed == ""
    assert err.count("\n") == 1, err
    assert re.search(told, err), err
    assert not out.exists()
