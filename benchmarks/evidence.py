"""What is known of the environments: which tests assert parity, and what our agents reach."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from benchmarks.docstrings import plain, table
from robolearn_envs import NAMESPACE

RESULTS = Path(__file__).parent / "results"
SCORES = ("learning.json", "navigation.json")
"""Files of ``benchmarks.learning``; those that are there are read."""
KEYS = {
    "agent": "agent",
    "engine": "trained on",
    "tested_on": "tested on",
    "level": "level",
    "curriculum": "curriculum",
    "action": "action",
    "steps": "steps",
}
"""What tells one row of scores from another, and the name of its column."""
FIGURES = {
    "success_rate": "success",
    "mean_return": "return",
    "mean_spl": "SPL",
    "seconds": "training in s",
}


class Claim(NamedTuple):
    """A parity that a test asserts."""

    tasks: tuple[str, ...]
    says: str
    bound: str
    """As the test has it."""
    test: str
    """File and function."""


_TWO = ("CartPoleBalance-v0", "CartPoleSwingUp-v0")
_DMC = ("CartPoleDMC-v0",)
_ROVER = ("NavRover-v0",)
_LIDAR, _DEPTH = ("NavLidar-v0", "NavRover-v0"), ("NavDepth-v0",)
CLAIMS = (
    Claim(
        _TWO,
        "states over 3 s of random forces, nominal robot, any two engines (m, rad and per s)",
        "1e-10",
        "tests/envs/test_parity.py::test_engines_agree_over_three_seconds",
    ),
    Claim(
        _TWO,
        "the same, masses and pole length off by up to 30 %",
        "1e-10",
        "tests/envs/test_parity.py::test_engines_agree_on_robots_off_by_up_to_30_percent",
    ),
    Claim(
        _TWO,
        "rewards of whole episodes; observations to one float32 rounding, ends at the same step",
        "1e-9",
        "tests/envs/test_parity.py::test_whole_environments_agree_to_float32",
    ),
    Claim(
        _TWO,
        "states and rewards of whole episodes, engine torch in double precision against analytic",
        "1e-6",
        "tests/envs/test_torch_vector.py::test_cart_poles_on_a_device_are_those_on_the_host",
    ),
    Claim(
        ("NavLidar-v0",),
        "the same, levels 0 to 4, with a curriculum, and with disturbed sensors",
        "1e-6",
        "tests/envs/test_torch_vector.py::test_robots_on_a_device_are_those_on_the_host",
    ),
    Claim(
        _ROVER,
        "pose over 2 s of driving on Warp in float32, against MuJoCo (m and rad)",
        "1e-4",
        "tests/envs/test_warp.py::test_rovers_drive_as_in_mujoco",
    ),
    Claim(
        _DMC,
        "first 100 states, against dm_control's own model in plain MuJoCo (m, rad and per s)",
        "1e-6",
        "tests/envs/test_control_suite.py::test_first_hundred_states_are_those_of_plain_mujoco",
    ),
    Claim(
        _DMC,
        "rewards, against dm_control's formula",
        "1e-6",
        "tests/envs/test_control_suite.py::test_rewards_are_the_public_formula",
    ),
    Claim(
        ("NavLidar-v0", "NavDepth-v0"),
        "positions and velocities over 10 s of random commands, also with other masses, any two "
        "engines (m, rad and per s)",
        "1e-9",
        "tests/envs/test_mobile_robots.py::test_engines_move_the_disc_alike_for_ten_seconds",
    ),
    Claim(
        _ROVER,
        "position after 10 s, MuJoCo and Bullet (part of the way driven)",
        "0.03",
        "tests/envs/test_mobile_robots.py::test_engines_move_the_rover_nearly_alike_for_ten_seconds",
    ),
    Claim(
        _ROVER,
        "heading at every moment of it (rad)",
        "0.15",
        "tests/envs/test_mobile_robots.py::test_engines_move_the_rover_nearly_alike_for_ten_seconds",
    ),
    Claim(
        _LIDAR,
        "99 of 100 lidar rays of MuJoCo and of Bullet, against the closed form (m)",
        "1e-6",
        "tests/envs/test_sensors.py::test_lidar_is_the_closed_form_to_a_micrometer_in_99_of_100_rays",
    ),
    Claim(
        _LIDAR,
        "every ray, also those that graze a cylinder (m)",
        "0.02",
        "tests/envs/test_sensors.py::test_lidar_is_the_closed_form_to_a_micrometer_in_99_of_100_rays",
    ),
    Claim(
        _DEPTH,
        "mean over a depth image but for edges, MuJoCo and Bullet against the closed form (m)",
        "0.01",
        "tests/envs/test_sensors.py::test_depth_is_the_closed_form_to_a_centimeter_but_at_edges",
    ),
)
"""What is known to be equal; a test looks up each of these tests and its bound."""


def parity(name: str) -> str:
    """Return the table of what is tested to be equal."""
    rows = [(c.says, c.bound, f"`{c.test}`") for c in CLAIMS if name in c.tasks]
    if not rows:
        return "No bound is asserted by a test yet."
    return table(("what agrees", "within", "test"), rows)


def scores(name: str) -> str:
    """Return the table of what our agents reach, mean (least..most) over seeds."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    sources = []
    for path in (RESULTS / file for file in SCORES if (RESULTS / file).exists()):
        kept = json.loads(path.read_text())
        own = [record for record in kept["records"] if record["env"] == f"{NAMESPACE}/{name}"]
        for record in own:
            key = tuple(str(record.get(key, "-")) for key in KEYS)
            groups.setdefault(key, []).append(record)
        if own:
            facts = kept["meta"]
            made = f"`{facts['command']}` on {facts['hardware']}, {facts['started'][:10]}"
            sources.append(made)
    if not groups:
        return "None are kept yet."
    rows = [
        (*key, str(len(own)), *(spread([r[f] for r in own if f in r]) for f in FIGURES))
        for key, own in groups.items()
    ]
    header = (*KEYS.values(), "seeds", *FIGURES.values())
    used = [k for k in range(len(header)) if any(row[k] != "-" for row in rows)]
    shown = table([header[k] for k in used], [[row[k] for k in used] for row in rows])
    return f"{shown}\n\nMean (least..most) over seeds; made by {' and '.join(sources)}."


def spread(numbers: list[float]) -> str:
    """Return mean and range of some numbers."""
    if not numbers:
        return "-"
    mean, least, most = (plain(round(n, 2)) for n in (fmean(numbers), min(numbers), max(numbers)))
    return mean if least == most else f"{mean} ({least}..{most})"
