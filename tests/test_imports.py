"""Who may know whom: imports run one way, and no circle is among them.

Every import statement counts, wherever it stands: in a function, under TYPE_CHECKING.
"""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Rooms of robolearn from the ground up. A room is a package or module directly inside robolearn,
# "" is robolearn/__init__.py. A room may import those of lower floors and its neighbors on the
# same one, but networks and buffers know nothing of each other.
FLOORS = [
    {"errors"},
    {"extras", "files", "spaces", "spaces_json"},
    {"networks", "buffers"},
    {"accelerate", "config", "config_yaml", "progress", "runs", "workers"},
    {"collect", "dumps", "environments", "making", "snapshots"},
    {"agents"},
    {"baselines", "evaluation", "pages", "video"},
    {"placement", "session", "train", "train_many", "compare", "imitation"},
    {""},
    {"cli", "commands", "__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FOREIGN_TO_ENVS = {"robolearn", "stable_baselines3"}
ON_TORCH = {
    f"robolearn_envs.{name}"
    for name in ("arenas.torch_deck", "engines.warp", "torch_arrays", "torch_vector")
}


def sources(folder):
    """Return the source of every module of a package by dotted name."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return found


def imports(modules):
    """Return the dotted names each module imports; of ``from a import b`` a.b if it is a module."""
    return {name: set(targets(ast.parse(source), modules)) for name, source in modules.items()}


def targets(tree, modules):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module


def room(name):
    return name.split(".")[1] if "." in name else ""


def wrong_floors(graph):
    """Return the imports between rooms of robolearn that do not lead down."""
    wrong = []
    for name, imported in graph.items():
        for target in imported:
            rooms = {room(name), room(target)}
            if target.split(".")[0] == "robolearn" and len(rooms) == 2 and rooms <= FLOOR.keys():
                here, there = FLOOR[room(name)], FLOOR[room(target)]
                if there > here or there == here == FLOOR["networks"]:
                    wrong.append(f"{name} imports {target}")
    return sorted(wrong)


def circle(graph):
    """Return a circle of imports as names, empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def between_rooms(graph):
    """Return the graph with every module of robolearn replaced by its room."""
    rooms = {}
    for name, imported in graph.items():
        ours = {room(t) for t in imported if t.split(".")[0] == "robolearn"} - {room(name)}
        rooms.setdefault(room(name), set()).update(ours)
    return rooms


def importers(graph, package):
    return {name for name, got in graph.items() if package in {t.split(".")[0] for t in got}}


@pytest.fixture(scope="module")
def agents_side():
    return imports(sources(ROOT / "robolearn"))


@pytest.fixture(scope="module")
def envs_side():
    return imports(sources(ROOT / "envs" / "robolearn_envs"))


def test_both_packages_are_found(agents_side, envs_side):
    assert "robolearn" in agents_side
    assert "robolearn_envs.vector" in envs_side["robolearn_envs.single"]


def test_every_room_of_robolearn_has_its_floor(agents_side):
    unknown = {room(name) for name in agents_side} - FLOOR.keys()
    assert not unknown, f"Rooms without a floor: add {sorted(unknown)} to FLOORS in {__file__}."


def test_imports_of_robolearn_lead_down(agents_side):
    assert wrong_floors(agents_side) == []


def test_no_modules_of_robolearn_import_in_a_circle(agents_side):
    assert circle(agents_side) == []


def test_no_rooms_of_robolearn_import_in_a_circle(agents_side):
    assert circle(between_rooms(agents_side)) == []


def test_no_modules_of_robolearn_envs_import_in_a_circle(envs_side):
    assert circle(envs_side) == []


@pytest.mark.parametrize("package", sorted(FOREIGN_TO_ENVS))
def test_robolearn_envs_knows_no_agents(envs_side, package):
    assert importers(envs_side, package) == set()


def test_only_environments_on_a_device_import_torch(envs_side):
    assert importers(envs_side, "torch") == ON_TORCH


def test_only_the_sb3_baseline_imports_stable_baselines3(agents_side):
    allowed = {"robolearn.baselines.sb3", "robolearn.baselines.sb3_view"}
    assert importers(agents_side, "stable_baselines3") <= allowed


def test_envs_is_a_container_and_no_package():
    assert not (ROOT / "envs" / "__init__.py").exists()


def test_importing_the_environments_imports_neither_torch_nor_an_engine():
    code = """
import sys, robolearn_envs
heavy = {"torch", "mujoco", "pybullet", "stable_baselines3", "pygame"} & sys.modules.keys()
sys.exit(f"imported {sorted(heavy)}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# The checks themselves, on planted sources.


def test_an_import_upwards_is_found_even_inside_a_function():
    planted = {
        "robolearn": "",
        "robolearn.networks": "",
        "robolearn.agents": "",
        "robolearn.agents.ppo": "from robolearn.networks import heads",
        "robolearn.networks.actor_critic": "def f():\n    from robolearn.agents.ppo import PPO",
    }
    assert wrong_floors(imports(planted)) == [
        "robolearn.networks.actor_critic imports robolearn.agents.ppo"
    ]


def test_an_import_along_the_ground_floor_is_found():
    planted = {"robolearn.networks": "import robolearn.buffers", "robolearn.buffers": ""}
    assert wrong_floors(imports(planted)) == ["robolearn.networks imports robolearn.buffers"]


def test_an_import_of_the_package_itself_from_below_is_found():
    planted = {"robolearn": "", "robolearn.agents": "from robolearn import PPO"}
    assert wrong_floors(imports(planted)) == ["robolearn.agents imports robolearn"]


def test_imports_down_and_sideways_and_of_the_environments_pass():
    planted = {
        "robolearn.cli": "import robolearn.train",
        "robolearn.train": "from robolearn import agents, compare",
        "robolearn.compare": "import robolearn_envs, torch",
        "robolearn.agents": "from robolearn.buffers.replay_buffer import ReplayBuffer",
        "robolearn.buffers.replay_buffer": "",
    }
    graph = imports(planted)
    assert graph["robolearn.train"] == {"robolearn.agents", "robolearn.compare"}
    assert wrong_floors(graph) == []
    assert circle(graph) == []


def test_a_circle_is_found_through_functions():
    planted = {
        "robolearn.buffers.a": "from robolearn.buffers import b",
        "robolearn.buffers.b": "def f():\n    import robolearn.buffers.a",
    }
    assert set(circle(imports(planted))) == {"robolearn.buffers.a", "robolearn.buffers.b"}


def test_a_circle_of_rooms_is_found_where_no_module_is_in_one():
    planted = {
        "robolearn.train": "from robolearn.compare import report",
        "robolearn.compare.report": "",
        "robolearn.compare.runner": "import robolearn.train",
    }
    graph = imports(planted)
    assert circle(graph) == []
    assert set(circle(between_rooms(graph))) == {"train", "compare"}


def test_an_import_of_a_foreign_package_is_found_by_its_first_name():
    planted = {
        "a": "from torch.nn import functional",
        "b": "import torchvision",
        "c": "import numpy",
    }
    assert importers(imports(planted), "torch") == {"a"}
