"""The tables of envs/README.md are those of the classes, and what they say is so."""

import ast
import inspect
import json
import math
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from tasks_by_name import TASKS

from benchmarks import arena_sheet, data_sheets, evidence
from benchmarks.docstrings import plain
from robolearn_envs import ENVS, TOY_ENVS
from robolearn_envs.core.sim import Sim
from robolearn_envs.maps import custom, dataset
from robolearn_envs.registry import keyword_names, supported_engines
from robolearn_envs.robots import DMControlCartPole
from robolearn_envs.single import RoboEnv
from robolearn_envs.tasks import point_goal
from robolearn_envs.tasks.cart_pole import CartPoleBalance, CartPoleSwingUp
from robolearn_envs.toy import bandit
from robolearn_envs.vector import RoboVectorEnv

ROOT = Path(__file__).parents[1]
NAVIGATION = [name for name in TASKS if name.startswith("Nav")]
every_task = pytest.mark.parametrize("name", TASKS)
every_navigation = pytest.mark.parametrize("name", NAVIGATION)


@pytest.fixture(scope="module")
def text():
    return data_sheets.render()


def section(text, *titles):
    """Return what stands below a heading, and below headings inside it."""
    for title in titles:
        level = title.split(" ")[0]
        _, _, text = f"\n{text}".partition(f"\n{title}\n")
        assert text, f"no heading {title!r}"
        text = re.split(rf"\n#{{1,{len(level)}}} ", text)[0]
    return text


def rows(text, number=0):
    """Return the rows of a table, each by the names of its columns."""
    tables = re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE)
    lines = tables[number].strip().splitlines()
    cells = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    header, _, *body = cells
    return [dict(zip(header, line, strict=True)) for line in body]


def codes(table, column):
    """Return the names of a column that is set as code."""
    return [row[column].strip("`") for row in table]


def entries(row):
    """Return how many entries of an observation a row is about."""
    if " x " in row["entry"]:
        return math.prod(map(int, re.findall(r"\d+", row["entry"])))
    first, *last = re.findall(r"\d+", row["entry"])
    return int(last[0]) - int(first) + 1 if last else 1


def scale(unit):
    """Return what 1 stands for: '5 m' is 5, 'm' is 1."""
    found = re.match(r"[\d.]+(?= )", unit)
    return float(found[0]) if found else 1.0


def test_the_file_is_up_to_date(text):
    assert data_sheets.README.read_text() == text, "run: make sheets"


def test_every_id_has_a_sheet(text):
    sheets = [f"robolearn/{name}" for name in re.findall(r"^## (\S+-v\d+)$", text, re.M)]
    assert sheets == [*ENVS, *(f"robolearn/{name}" for name in TOY_ENVS)]


def test_numbers_are_plain(text):
    assert not re.search(r"\d[eE]\+?\d", text)
    # Six digits, no exponent, no rest of a rounding, no sign on zero.
    assert [plain(x) for x in (1e6, 0.1 + 0.2, -0.0, 7e-17, 1.0, 4 / 3, 1e-5)] == [
        "1000000", "0.3", "0", "0", "1", "1.33333", "0.00001",
    ]  # fmt: skip


@every_task
def test_bounds_are_those_of_the_space(text, name):
    table = rows(section(text, f"## {name}", "### Observation"))
    space = gym.spaces.flatten_space(TASKS[name]().observation_space)
    for bound, expected in (("min", space.low), ("max", space.high)):
        shown = np.concatenate([np.full(entries(row), float(row[bound])) for row in table])
        np.testing.assert_allclose(shown, expected, rtol=1e-5)  # as many, and in six digits


@pytest.mark.parametrize("name", TOY_ENVS)
def test_toy_environments_are_described_as_they_are(text, name):
    told = section(text, f"## {name}")
    env = gym.make(f"robolearn/{name}")
    table = rows(section(told, "### Options"))
    taken = inspect.signature(type(env.unwrapped).__init__).parameters
    assert codes(table, "option") == [option for option in taken if option != "self"]
    for row in table:
        assert row["default"] == f"`{taken[row['option'].strip('`')].default!r}`"
        assert row["meaning"]
    spaces = {row["space"]: row for row in rows(told)}
    for kind, space in (("observation", env.observation_space), ("action", env.action_space)):
        assert spaces[kind]["with the default options"] == f"`{space}`"
    rules = section(told, "### Rules")
    for rule in ("Observation", "Action", "Reward", "Start", "Terminated", "Truncated"):
        assert f"**{rule}.** " in rules
    if env.spec.max_episode_steps:
        assert f"**Truncated.** After {env.spec.max_episode_steps} steps." in rules
    env.close()


@every_task
def test_every_number_of_an_observation_has_a_name_and_a_meaning(text, name):
    table = rows(section(text, f"## {name}", "### Observation"))
    names = [row["name"] for row in table]
    assert len(set(names)) == len(names)
    assert all(row["name"] and row["unit"] and row["meaning"] for row in table)


@every_task
def test_every_option_is_documented_with_its_default(text, name):
    table = rows(section(text, f"## {name}", "### Options"))
    assert codes(table, "option") == [
        "engine",
        "action",
        "domain_randomization",
        *keyword_names(TASKS[name]),
    ]
    taken = inspect.signature(TASKS[name].__init__).parameters
    for row in table[3:]:
        assert row["default"] == f"`{taken[row['option'].strip('`')].default!r}`"
    assert all(row["meaning"] for row in table)
    engines = table[0]["meaning"]
    assert tuple(re.findall(r"'(\w+)'", engines)) == supported_engines(TASKS[name])


def test_every_option_of_all_environments_is_documented(text):
    table = rows(section(text, "## Keywords of all environments"))
    taken = list(inspect.signature(RoboVectorEnv.__init__).parameters)
    assert codes(table, "option") == [
        name for name in taken if name not in ("self", "env_id", "num_envs", "task_options")
    ]
    single = set(inspect.signature(RoboEnv.__init__).parameters)
    assert single - {"self", "env_id", "options"} <= set(codes(table, "option"))


@pytest.mark.slow
@every_task
def test_every_key_of_the_info_is_documented(text, name):
    table = rows(section(text, f"## {name}", "### Info"))
    common = codes(rows(section(text, "## Info"))[1:], "key")
    engine = "mujoco" if name in ("CartPoleDMC-v0", "NavRover-v0") else "analytic"
    env = gym.make(f"robolearn/{name}", engine=engine)
    _, info = env.reset(seed=0)
    documented = codes(table, "key")
    over = False
    while not over:
        assert list(info)[: len(documented)] == documented
        assert set(list(info)[len(documented) :]) <= set(common)
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        over = terminated or truncated
    env.close()
    assert all(row["meaning"] for row in table)


@every_task
def test_every_field_of_the_robot_is_documented(text, name):
    robot = TASKS[name]().robot
    table = rows(section(text, f"## {name}", f"### Robot: {type(robot).__name__}"))
    names = [field.name for field in fields(robot)]
    assert codes(table, "field") == names
    assert [float(row["here"]) for row in table] == [getattr(robot, name) for name in names]
    assert all(row["meaning"] for row in table)


def test_the_control_suites_robot_is_described_as_it_is():
    told = inspect.getdoc(DMControlCartPole)
    model = mujoco.MjModel.from_xml_string(DMControlCartPole().to_mjcf(0.01))
    radius, half, _ = model.geom("pole_1").size
    for number, unit in [
        (model.body("cart").mass[0], "kg"),
        (model.body("pole_1").mass[0], "kg"),
        (2 * half, "m long"),
        (radius, "m;"),
        (model.joint("slider").damping[0], "N s/m"),
        (model.joint("hinge_1").damping[0], "N m s/rad"),
        (-model.opt.gravity[2], "m/s^2"),
    ]:
        assert f" {plain(number)} {unit}" in told


def test_the_lines_of_python_run(text):
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    # Besides one for each sheet: making, randomization, a device; own task, robot and sensor.
    assert len(blocks) == len(ENVS) + len(TOY_ENVS) + 6
    run = [sys.executable, "-W", "error", "-c", _RUN_BLOCKS]  # they register ids of their own
    ran = subprocess.run(run, input=json.dumps(blocks), text=True, capture_output=True)
    assert ran.returncode == 0, ran.stderr


_RUN_BLOCKS = """
import json, sys

for block in json.load(sys.stdin):
    scope = {}
    exec(block, scope)
    for name in ("env", "envs"):
        if name in scope:
            scope[name].reset(seed=0)
            scope[name].step(scope[name].action_space.sample())
            scope[name].close()
"""


@every_navigation
def test_the_example_of_a_layout_is_driven_in(text, name):
    given = section(text, "## Layouts of your own")
    layout = json.loads(re.search(r"```json\n(.*?)```", given, re.DOTALL)[1])
    assert set(layout) == set(custom.COLUMNS) == set(codes(rows(given), "key"))
    env = gym.make(f"robolearn/{name}", engine="mujoco").unwrapped
    observation, _ = env.reset(seed=0, options={"layout": layout})
    assert observation in env.observation_space
    state = env.vector_env.task_state
    np.testing.assert_array_equal(state["goal"][0], layout["goal"])
    np.testing.assert_array_equal(state["xy"][0], layout["start"][:2])
    np.testing.assert_array_equal(state["boxes"][0, 0], layout["boxes"][0])
    env.step(env.action_space.sample())
    env.close()


def test_an_entry_times_its_unit_is_the_quantity(text):
    table = rows(section(text, "## NavLidar-v0", "### Observation"))
    env = gym.make("robolearn/NavLidar-v0", engine="analytic")
    layout = {"goal": [0.0, 3.0], "start": [2.0, -1.0, math.pi / 2]}
    observation, _ = env.reset(seed=0, options={"layout": layout})
    env.close()
    shown = {row["name"]: k for k, row in enumerate(table)}
    lidar, away = scale(table[shown["lidar 0..35"]]["unit"]), scale(table[1]["unit"])
    # Heading +y: ray 27 looks along +x at the wall, 3 m away; the goal is (-2, 4) away.
    assert lidar * observation[27] == pytest.approx(3.0)
    assert away * observation[36] == pytest.approx(math.sqrt(20))
    # Straight ahead of it are 4 of sqrt(20), and it is to the left: sin is 2 / sqrt(20).
    assert observation[37:39] == pytest.approx([4 / math.sqrt(20), 2 / math.sqrt(20)])


def test_a_pixel_times_its_unit_is_the_depth(text):
    row, *_ = rows(section(text, "## NavDepth-v0", "### Observation"))
    env = gym.make("robolearn/NavDepth-v0", engine="analytic")
    layout = {"goal": [0.0, 3.0], "start": [2.0, -1.0, 0.0]}  # 3 m from the wall ahead
    observation, _ = env.reset(seed=0, options={"layout": layout})
    env.close()
    assert scale(row["unit"]) * observation["depth"][31] == pytest.approx(np.full(64, 3.0))


@every_navigation
def test_discrete_actions_drive_as_the_table_says(text, name):
    table = rows(section(text, f"## {name}", "### Action"), number=1)
    engine, count = TASKS[name].engines[0], len(table)
    envs = gym.make_vec(f"robolearn/{name}", num_envs=count, engine=engine, action="discrete")
    layout = {"goal": [4.0, 4.0], "start": [-2.0, -1.0, 0.0]}
    envs.reset(seed=0, options={"layout": layout})
    for _ in range(25):
        observation, *_ = envs.step(np.arange(count))
    _, speeds = envs.unwrapped.qpos_qvel()
    envs.close()
    goal = observation["goal"] if isinstance(observation, dict) else observation[:, 36:]
    expected = [[float(row["v (m/s)"]), float(row["omega (rad/s)"])] for row in table]
    np.testing.assert_allclose(goal[:, 3:], expected, atol=0.03)
    if name == "NavRover-v0":
        wheels = [[float(row[f"{s} wheel (rad/s)"]) for s in ("left", "right")] for row in table]
        np.testing.assert_allclose(speeds[:, 6:], wheels, atol=0.3)


@pytest.mark.parametrize("name", [name for name in TASKS if name not in NAVIGATION])
def test_discrete_actions_push_as_the_table_says(text, name):
    table = rows(section(text, f"## {name}", "### Action"), number=1)
    task = TASKS[name]()
    still = np.zeros((len(table), 2))
    force = task.actuate(still, still, np.array(task.discrete_actions), {})
    assert [float(row["force (N)"]) for row in table] == force[:, 0].tolist()


def sim_of(task, qpos, qvel):
    """Return what a task sees of a state, without an engine."""
    return Sim(None, slice(None), task.robot, qpos, qvel, {}, {}, {}, 0.02)


def formulas(text):
    """Return the code of a text that reads 'name = formula', as Python."""
    found = re.findall(r"`(\w+) = ([^`]+)`", text)
    return {name: formula.replace("^", "**") for name, formula in found}


@pytest.mark.parametrize("name", ["CartPoleSwingUp-v0", "CartPoleDMC-v0"])
def test_the_formula_of_the_reward_is_the_reward(text, name):
    told = section(text, f"## {name}", "### Rules")
    product = re.search(r"\*\*Reward\.\*\* `([^`]+)`", told)[1]
    rng = np.random.default_rng(0)
    qpos, qvel = rng.uniform(-1, 1, (2, 20, 2)) * [2.0, 4.0]
    ctrl = rng.uniform(-1, 1, (20, 1))
    known = {"theta": qpos[:, 1], "x": qpos[:, 0], "theta_dot": qvel[:, 1], "u": ctrl[:, 0]}
    known |= {"cos": np.cos, "margin": float(re.search(r"margin = ([\d.]+) m", told)[1])}
    factors = {part: eval(f, known) for part, f in formulas(told).items()}
    assert set(factors) == set(product.split(" * "))
    task = TASKS[name]()
    expected = task.reward(sim_of(task, qpos, qvel), ctrl, {})
    np.testing.assert_allclose(eval(product, factors), expected, rtol=1e-12)


def test_the_formulas_of_spl_are_those_of_the_info(text):
    table = rows(section(text, "## NavLidar-v0", "### Info"))
    said = {row["key"].strip("`"): row["meaning"] for row in table}
    task = TASKS["NavLidar-v0"]()
    sim = sim_of(task, np.zeros((1, 3)), np.zeros((1, 3)))
    for x, left, path in ((0.0, 0.0, 6.0), (0.0, 0.0, 4.0), (2.0, 3.0, 9.0), (2.0, 7.0, 1.0)):
        state = {
            "goal": np.zeros((1, 2)), "xy": np.array([[x, 0.0]]), "level": np.array([2]),
            "arrived": np.array([x < 0.3]), "collided": np.zeros(1, bool),
            "min_obstacle_distance": np.ones(1),
            "geodesic_distance": np.array([5.3]), "path_length": np.array([path]),
            "distance": np.array([left + 0.3]),  # to the middle; 0.3 m are the circle of success
        }  # fmt: skip
        got = {key: rows[0] for key, rows in task.metrics(sim, state).items()}
        for name in ("spl", "soft_spl"):
            formula = re.search(r"`([^`]*geodesic_distance[^`]*)`", said[name])[1]
            known = {**got, "success": float(got["success"]), "left": left, "max": max}
            assert got[name] == pytest.approx(eval(formula, known)), (name, x, left, path)


@pytest.mark.parametrize(
    ("owner", "name", "number", "expected"),
    [
        (CartPoleBalance, "max_episode_steps", 321, "After 321 steps, 6.42 s."),
        (CartPoleBalance, "x_threshold", 3.25, "|x| > 3.25 m"),
        (CartPoleSwingUp, "centering_margin", 0.75, "margin = 0.75 m"),
        (CartPoleSwingUp, "frame_skip", 5, "| control rate | 20 Hz |"),
        (point_goal, "SUCCESS_REWARD", 12.5, "* `success` is 12.5 on arriving"),
        (point_goal, "GOAL_TOLERANCE", 0.45, "within 0.45 m of the goal"),
        (custom, "MAX_OBSTACLES", 17, "17 at most"),
        (dataset, "SPLIT_SIZES", {"train": 7}, "| `'train'` | 7 |"),
        (bandit, "SQUARE", 7, "A bright square, 7 pixels"),
    ],
)
def test_a_change_of_a_class_is_a_change_of_its_sheet(
    text, monkeypatch, owner, name, number, expected
):
    assert expected not in text
    monkeypatch.setattr(owner, name, number)
    assert expected in data_sheets.render()


@pytest.mark.parametrize("claim", evidence.CLAIMS, ids=lambda claim: claim.test.split("::")[1])
def test_a_cited_test_has_the_cited_bound(claim):
    file, name = claim.test.split("::")
    tree = ast.parse((ROOT / file).read_text())
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)
    used = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
    constants = [
        n for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) in used
    ]
    numbers = [
        n.value
        for one in (function, *constants)
        for n in ast.walk(one)
        if isinstance(n, ast.Constant)
    ]
    assert float(claim.bound) in numbers
    assert set(claim.tasks) <= set(TASKS)


@every_task
def test_every_environment_cites_a_test_of_parity(text, name):
    assert rows(section(text, f"## {name}", "### Parity"))


def test_scores_are_means_over_seeds_with_least_and_most(monkeypatch, tmp_path):
    record = {"agent": "ppo", "env": "robolearn/NavLidar-v0", "engine": "analytic", "level": 2}
    record |= {"tested_on": "bullet", "steps": 2000, "mean_return": 12.0, "seconds": 3.0}
    records = [
        record | {"seed": 0, "success_rate": 0.5, "mean_spl": 0.25},
        record | {"seed": 1, "success_rate": 1.0, "mean_spl": 0.75},
        record | {"seed": 0, "env": "robolearn/CartPoleDMC-v0", "success_rate": 0.0},
    ]
    meta = {"command": "it", "hardware": "a machine", "started": "2026-11-20T12:44:27+00:00"}
    (tmp_path / "navigation.json").write_text(json.dumps({"meta": meta, "records": records}))
    monkeypatch.setattr(evidence, "RESULTS", tmp_path)
    expected = {
        "agent": "ppo", "trained on": "analytic", "tested on": "bullet", "level": "2",
        "steps": "2000", "seeds": "2", "success": "0.75 (0.5..1)", "return": "12",
        "SPL": "0.5 (0.25..0.75)", "training in s": "3",
    }  # fmt: skip
    shown = evidence.scores("NavLidar-v0")
    assert rows(shown) == [expected]
    assert shown.endswith("made by `it` on a machine, 2026-11-20.")
    assert evidence.scores("NavDepth-v0") == "None are kept yet."


def test_levels_are_listed_with_their_obstacles(text):
    table = rows(section(text, "## Arenas and layouts", "### Levels"))
    cells = [list(row.values()) for row in table]
    # The levels' docstring: empty, four cylinders, eight, twelve of which four move, walls.
    assert [row[:3] for row in cells[:4]] == [
        ["0", "0", "0"], ["1", "4", "0"], ["2", "8", "0"], ["3", "8", "4"],
    ]  # fmt: skip
    assert int(cells[4][3]) > 0


def test_the_example_uses_every_key():
    assert list(arena_sheet.EXAMPLE) == list(custom.COLUMNS)
