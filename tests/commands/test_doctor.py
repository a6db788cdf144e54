"""What `robolearn doctor` finds in installations that work, and in broken ones."""

import json
import os
import subprocess
import sys

import pytest

from robolearn.commands import doctor


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of packages that is searched first, and a way to install distributions there."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name, version, *files, without=()):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        (folder / "RECORD").write_text("".join(f"{file},,\n" for file in files))
        for file in files:
            if file not in without:
                (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / file).touch()

    return install


@pytest.fixture(scope="module")
def findings():
    """What doctor finds, by name, where MUJOCO_GL asks for an OpenGL platform that does not exist.

    In a process of its own: what it tries takes 200 MB for good.
    """
    told = subprocess.run(
        (sys.executable, "-m", "robolearn", "doctor", "--json"),
        env={**os.environ, "MUJOCO_GL": "nonsense"},
        capture_output=True,
        text=True,
        check=True,
    )
    return {finding["name"]: finding for finding in json.loads(told.stdout)["findings"]}


@pytest.mark.slow
def test_doctor_tries_every_engine_renderer_and_device(findings):
    for name in ("engine mujoco", "engine bullet", "engine analytic", "ffmpeg", "device cpu"):
        assert findings[name]["works"], name
    assert findings["renderer software-rays"]["works"]  # needs nothing
    assert findings.keys() >= {"renderer mujoco-egl", "device cuda"}
    assert findings["extra minari"]["works"]
    assert all(finding["detail"] for finding in findings.values())


def test_the_interpreter_is_named():
    found = doctor.interpreter()
    assert found.works
    assert sys.executable in found.detail
    assert sys.version.split()[0] in found.detail


@pytest.mark.parametrize("version", [(3, 10, 9), (3, 15, 0)])
def test_an_interpreter_that_is_not_supported_is_said(monkeypatch, version):
    monkeypatch.setattr(sys, "version_info", version)
    found = doctor.interpreter()
    assert not found.works
    assert found.detail.endswith("supported are 3.11 to 3.14")


def test_it_says_which_bullet_this_is_and_whether_it_was_built_with_numpy():
    from robolearn_envs.engines.bullet_world import pybullet

    found = doctor.bullet()
    assert found.works
    name = "pybullet" if sys.version_info < (3, 12) else "pybullet-arm64"
    assert found.detail.startswith(f"{name} 3.")
    assert ("with NumPy" in found.detail) == bool(pybullet.isNumpyEnabled())


def test_two_distributions_of_pybullet_are_said_to_overwrite_each_other(site):
    site("pybullet", "3.2.7")
    site("pybullet-arm64", "3.2.8")
    found = doctor.bullet()
    keep = "pybullet" if sys.version_info < (3, 12) else "pybullet-arm64"
    assert not found.works
    assert found.detail == (
        "pybullet and pybullet-arm64 are both installed and overwrite each other. Repair it with: "
        f"pip uninstall --yes pybullet pybullet-arm64 && pip install {keep}"
    )


def test_two_distributions_of_pygame_are_said_to_overwrite_each_other(site):
    site("pygame", "2.6.1")
    site("pygame-ce", "2.5.8")
    (found,) = (each for each in doctor.packages() if each.name == "pygame")
    assert not found.works
    assert found.detail.endswith("pip uninstall --yes pygame pygame-ce && pip install pygame-ce")


def test_files_that_an_upgrade_of_mujoco_deleted_are_noticed(site):
    # pip installs mujoco-core 4, then deletes the files of mujoco 3, which have the same names.
    gone = "mujoco/_specs.so"
    site("mujoco", "4.0.0", "mujoco/gui.py")
    cached = "mujoco/__pycache__/a.pyc"  # may be missing anywhere
    site("mujoco-core", "4.0.0", "mujoco/__init__.py", gone, cached, without=(gone, cached))
    found = doctor.mujoco_files()
    assert not found.works
    assert found.detail == (
        "1 files are missing, such as mujoco/_specs.so. Repair it with: "
        "pip install --force-reinstall --no-deps mujoco mujoco-core"
    )


def test_a_whole_mujoco_is_named_with_its_version():
    import mujoco

    found = doctor.mujoco_files()
    assert found.works
    assert f"mujoco {mujoco.__version__}" in found.detail


def test_an_opengl_platform_that_does_not_exist_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    (found,) = doctor.opengl_platform()
    assert (found.name, found.works) == ("MUJOCO_GL=nonsense", False)
    assert found.detail.endswith("Unset MUJOCO_GL, or set it to egl.")
    assert "invalid value" in found.detail  # MuJoCo's own words


def test_of_opengl_nothing_is_said_where_nothing_was_asked_for(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    assert list(doctor.opengl_platform()) == []


@pytest.mark.slow
def test_with_an_opengl_platform_that_does_not_work_doctor_still_tries_the_rest(findings):
    assert not findings["MUJOCO_GL=nonsense"]["works"]
    assert findings["engine mujoco"]["works"]
