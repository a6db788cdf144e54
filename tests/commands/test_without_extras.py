"""A command whose optional package is missing names the line that installs it."""

import importlib.metadata
import sys

import pytest

from robolearn.cli import main
from robolearn.extras import EXTRAS, install_command, missing_extra


def test_every_extra_of_the_package_is_known_with_its_modules():
    ours = set(importlib.metadata.metadata("robolearn").get_all("Provides-Extra"))
    assert set(EXTRAS) == ours - {"all", "dev"}


def test_the_command_names_the_packages_of_the_extra_and_no_others():
    assert install_command("teleop") == "pip install 'pygame-ce>=2.5'"
    assert install_command("minari") == "pip install 'h5py>=3.13' 'minari[hdf5]>=0.5.3'"


def test_a_module_of_no_extra_is_left_to_python():
    assert missing_extra("robolearn train", ModuleNotFoundError(name="torch")) is None


@pytest.mark.parametrize("engine", ["bullet", "warp"])
def test_training_on_an_engine_that_is_missing_is_refused_in_one_line(
    engine, monkeypatch, tmp_path, capsys
):
    module = {"bullet": "pybullet", "warp": "mujoco_warp"}[engine]
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    run = tmp_path / "run"
    assert main(("train", "ppo", "--engine", engine, "--steps", "100", "--run", str(run))) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"Engine '{engine}' needs the package {module}" in said
    assert "pip install" in said or "Use engine='mujoco'" in said
    assert not run.exists()


def test_demonstrating_without_pygame_is_refused_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "pygame", None)
    out = tmp_path / "mine-v0"
    assert main(("demos", "record", "--human", "--out", str(out))) == 2
    assert capsys.readouterr().err == (
        "robolearn: `robolearn demos` needs pygame, which is not installed. "
        "Install it with: pip install 'pygame-ce>=2.5'\n"
    )
    assert not out.exists()
