"""The wheel works outside the checkout: without the extras, a home directory or a writable cache.

Its packages are links to the installed ones of the core dependencies, so nothing is downloaded but
the build backend.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from robolearn.commands.quickstart import ENV
from robolearn.extras import EXTRAS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
SHORT = ("--engine", "analytic", "--steps", "512")
FEW = ("--test-episodes", "5")
SKETCH = ("--size", "160x120", "--stride", "2")


def core_distributions():
    """Return the installed distributions that a plain install of robolearn brings."""
    found, left = {}, [("robolearn", frozenset())]
    while left:
        name, extras = left.pop()
        name = canonicalize_name(name)
        if (name, extras) in found:
            continue
        found[name, extras] = metadata.distribution(name)
        for line in found[name, extras].requires or ():
            need = Requirement(line)
            asked = [{"extra": extra} for extra in extras or [""]]
            if need.marker is None or any(map(need.marker.evaluate, asked)):
                left.append((need.name, frozenset(need.extras)))
    return {name: found for (name, _), found in found.items() if name != "robolearn"}.values()


@pytest.fixture(scope="module")
def place():
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def installed(place):
    """The folder of scripts of an environment with the wheel and its core dependencies."""
    wheels, packages = place / "wheels", place / "packages"
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*build, wheels, ROOT], check=True)
    packages.mkdir()
    for distribution in core_distributions():
        for top in {path.parts[0] for path in distribution.files} - {"..", "__pycache__"}:
            link = packages / top  # several distributions may share a namespace
            if not link.exists():
                link.symlink_to(distribution.locate_file(top))
    venv.create(place / "venv", with_pip=False)
    scripts = place / "venv" / "bin"
    (site,) = (place / "venv" / "lib").glob("python*/site-packages")
    (wheel,) = wheels.glob("*.whl")
    into = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet"]
    subprocess.run([*into, "--no-deps", "--disable-pip-version-check", wheel], check=True)
    (site / "core.pth").write_text(f"{packages}\n")
    return scripts


@pytest.fixture
def folder(place):
    """A folder of the test's own, outside the checkout, that every user may write to."""
    own = Path(tempfile.mkdtemp(dir=place))
    own.chmod(0o777)
    return own


def robolearn(scripts, *arguments, cwd, user=(), **variables):
    """Run a command as ``user``, a prefix, on one thread, with PATH and the given variables."""
    return subprocess.run(
        [*user, scripts / "robolearn", *map(str, arguments)],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )


def done(process):
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_nothing_of_the_checkout_and_none_of_the_extras_is_there(installed, folder):
    modules = [module for modules in EXTRAS.values() for module in modules]
    code = f"""
from importlib.util import find_spec
import robolearn, robolearn_envs
print(robolearn.__file__, robolearn_envs.__file__, [m for m in {modules} if find_spec(m)])
"""
    process = subprocess.run(
        [installed / "python", "-c", code],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    ours, envs, extras = done(process).split(maxsplit=2)
    assert Path(ours).is_relative_to(installed.parent)
    assert Path(envs).is_relative_to(installed.parent)
    assert extras.strip() == "[]"


def test_the_five_commands_work(installed, folder):
    def run(*arguments):
        return done(robolearn(installed, *arguments, cwd=folder, HOME=str(folder)))

    quick = ("--steps", "2048", "--run", "quick", "--out", "quick.mp4", "--json")
    figures = json.loads(run("quickstart", *quick))
    assert figures["env"] == ENV
    assert [(row["agent"], row["engine"], row["episodes"]) for row in figures["rows"]] == [
        ("robolearn PPO", "mujoco", 100),
        ("robolearn PPO", "bullet", 100),
        ("SB3 PPO", "mujoco", 100),
        ("SB3 PPO", "bullet", 100),
    ]
    assert figures["video"] == "quick.mp4"
    assert (folder / "quick" / "eval.json").is_file()
    run("train", "ppo", *SHORT, *FEW, "--run", "run")
    assert json.loads(run("eval", "run", "--episodes", "3", "--json"))["episodes"] == 3
    run("record", "run", "--out", "video.mp4", *SKETCH)
    short = (*SHORT, "--seeds", "1", "--episodes", "2", "--no-batch", "--no-videos")
    run("compare", "ppo", "sb3-ppo", *short, "--out", "report")
    for video in ("quick.mp4", "video.mp4"):
        assert (folder / video).stat().st_size > 10_000
    page = (folder / "report" / "report.html").read_text()  # of the templates in the wheel
    assert "<table" in page
    assert "<svg" in page


@pytest.mark.parametrize(
    ("command", "module", "package"),
    [
        (("demos", "list"), "minari", "h5py"),
        (("imitate", "clone", "--demos", "demos/x-v0"), "h5py", "minari[hdf5]"),
    ],
)
def test_a_command_without_its_extra_says_what_to_install(
    installed, folder, command, module, package
):
    process = robolearn(installed, *command, cwd=folder, HOME=str(folder))
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    needs = f"robolearn: `robolearn {command[0]}` needs {module}, which is not installed."
    assert process.stderr.startswith(f"{needs} Install it with: pip install '")
    assert f"'{package}>=" in process.stderr


def test_an_engine_of_an_extra_says_what_to_install(installed, folder):
    process = robolearn(
        installed, "train", "ppo", "--engine", "warp", "--run", "run", cwd=folder, HOME=str(folder)
    )
    assert process.returncode == 2
    assert process.stderr == (
        "robolearn: Engine 'warp' needs the package mujoco_warp, which is not installed. "
        "Install it with: pip install mujoco-warp warp-lang\n"
    )
    assert not (folder / "run").exists()


@pytest.fixture
def random_user():
    """A command prefix: a user without a name and a home, who may read all and write little."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root, with setpriv, can become another user")
    return (
        *("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"),
        # Else root's interpreter may be out of reach.
        *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
    )


@pytest.mark.parametrize("home", [None, "/proc"], ids=["no home", "a home one cannot write to"])
def test_caches_are_done_without_where_there_is_no_place_for_them(
    installed, folder, random_user, home
):
    variables = {} if home is None else {"HOME": home}

    def run(*arguments):
        return robolearn(installed, *arguments, cwd=folder, user=random_user, **variables)

    level = ("--env", "robolearn/NavLidar-v0", "--engine", "analytic", "--level", "0")
    if home is None:
        done(run("train", "ppo", *level, "--steps", "256", *FEW, "--run", "run"))
        short = (*SHORT, "--seeds", "1", "--episodes", "2", "--no-videos")
        done(run("compare", "ppo", *short, "--out", "made"))
        assert (folder / "made" / "report.html").is_file()
    else:
        done(run("train", "ppo", *SHORT, *FEW, "--run", "run"))
        done(run("record", "expert", *level, "--out", "made.mp4", *SKETCH))
    assert {path.name for path in folder.iterdir()} <= {"run", "made", "made.mp4"}
