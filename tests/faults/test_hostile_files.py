"""Files a stranger made to do harm, through the command line: nothing runs, one line is printed."""

import base64
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import torch
from damage import reseal, seal
from safetensors.torch import load_file, save_file
from small_runs import config, newest, signal_at

from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.cli import main
from robolearn.environments import EnvConfig
from robolearn.files import write_arrays
from robolearn.runs.run import RunFolder
from robolearn.train import TrainConfig, train


class Trap:
    """Makes a folder where it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


@pytest.fixture
def trap(tmp_path):
    """What must not be run, and must not have been run in the end."""
    yield Trap(tmp_path / "marker")
    assert not (tmp_path / "marker").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "run"
    config = PPOConfig(hidden_sizes=(8,), num_envs=2, n_steps=4, batch_size=8)
    agent = PPO("CartPole-v1", config, device="cpu")
    env = EnvConfig(id="CartPole-v1")
    folder = RunFolder.create(path, TrainConfig(agent="ppo", env=env, steps=8, run=path))
    agent.save(folder.checkpoint(0))
    folder.point("last", folder.checkpoint(0))
    return path


@pytest.fixture
def run(trained, tmp_path):
    """A run folder of its own, with one checkpoint, that can be evaluated."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def checkpoint(run):
    return run / "checkpoints" / "000000000"


@pytest.fixture
def refuse(capsys):
    """Run a command that must be refused in one line; return the line."""

    def command(*arguments, lines=1):
        start = time.perf_counter()
        assert main([str(argument) for argument in arguments]) == 2
        assert time.perf_counter() - start < 10
        printed = capsys.readouterr()
        assert printed.out == ""
        assert len(printed.err.splitlines()) == lines, printed.err
        assert all(line.startswith("robolearn: ") for line in printed.err.splitlines())
        return printed.err

    return command


def evaluated(run):
    return ("eval", run, "--episodes", "1")


def imported(model):
    return ("import-sb3", model, "--env", "CartPole-v1", "--run", model.with_name("imported"))


def change(checkpoint, **changes):
    """Change a checkpoint's state on purpose: the manifest fits it again."""
    state = json.loads((checkpoint / "state.json").read_text())
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(state[name], dict):
            state[name] |= value
        else:
            state[name] = value
    (checkpoint / "state.json").write_text(json.dumps(state))
    reseal(checkpoint)


def test_the_run_itself_is_evaluated(run, checkpoint, capsys):
    reseal(checkpoint)  # the tests' seal is the real one
    assert main([str(argument) for argument in evaluated(run)]) == 0
    assert capsys.readouterr().err == ""


# Models of SB3.


def archived(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def saved(thing, **how):
    """Return what torch.save writes."""
    file = io.BytesIO()
    torch.save(thing, file, **how)
    return file.getvalue()


def weights(**others):
    """Return the policy of a small PPO, and other things beside it."""
    shapes = {"mlp_extractor.policy_net.0": (8, 4), "mlp_extractor.value_net.0": (8, 4)}
    shapes |= {"action_net": (2, 8), "value_net": (1, 8)}
    state = {f"{name}.weight": torch.ones(shape) for name, shape in shapes.items()}
    return state | {f"{name}.bias": torch.ones(s[0]) for name, s in shapes.items()} | others


def test_pickles_in_a_models_data_are_never_looked_at(tmp_path, trap, capsys):
    serialized = base64.b64encode(pickle.dumps(trap)).decode()
    data = json.dumps({"policy_class": {":type:": "x", ":serialized:": serialized}})
    members = {"data": data, "pytorch_variables.pth": saved(trap), "../../marker": b"harm"}
    members |= {"policy.optimizer.pth": saved(trap), "policy.pth": saved(weights())}
    model = archived(tmp_path / "model.zip", members)
    assert main([str(argument) for argument in imported(model)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["imported", "model.zip"]


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_policy_that_is_a_pickle_is_refused(tmp_path, trap, refuse, legacy):
    harm = saved(weights(harm=trap), _use_new_zipfile_serialization=not legacy)
    model = archived(tmp_path / "model.zip", {"policy.pth": harm})
    assert "policy.pth" in refuse(*imported(model))


def test_a_pickle_called_a_model_is_refused(tmp_path, trap, refuse):
    (tmp_path / "model.zip").write_bytes(pickle.dumps(trap))
    assert "is no zip" in refuse(*imported(tmp_path / "model.zip"))


def test_a_bomb_of_zeros_is_refused_unexploded(tmp_path, refuse):
    bomb = {"policy.pth": b"\0" * 200_000_000}
    model = archived(tmp_path / "model.zip", bomb, zipfile.ZIP_DEFLATED)
    assert "compressed or encrypted" in refuse(*imported(model))


@pytest.mark.parametrize("name", ["model.zip", "nothing.zip", "folder", "pipe"])
def test_what_is_no_file_is_no_model(tmp_path, refuse, name):
    (tmp_path / "model.zip").symlink_to("/etc/passwd")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert str(tmp_path / name) in refuse(*imported(tmp_path / name))


# Runs.


def test_a_pickle_called_safetensors_is_refused(run, checkpoint, trap, refuse):
    for harm in (saved({"a": trap}), pickle.dumps(trap)):
        (checkpoint / "net.safetensors").write_bytes(harm)
        reseal(checkpoint)
        assert "net.safetensors is damaged" in refuse(*evaluated(run))


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".npy"])
def test_a_pickle_beside_the_files_of_a_checkpoint_is_not_read(
    run, checkpoint, trap, capsys, suffix
):
    (checkpoint / f"net{suffix}").write_bytes(pickle.dumps(trap))
    reseal(checkpoint)
    assert main([str(argument) for argument in evaluated(run)]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("header", "tail"),
    [
        (2**60, b""),
        (2**63 + 1, b""),
        (100 * 2**20, b"{}"),
        ({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, b"\0" * 16),
        ({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 16]}}, b"\0" * 16),
        ({"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}, b"\0" * 16),
    ],
    ids=["length", "overflow", "long", "offsets", "product", "backwards"],
)
def test_tensors_that_declare_too_much_are_refused(run, checkpoint, refuse, header, tail):
    if isinstance(header, dict):
        text = json.dumps(header).encode()
        data = struct.pack("<Q", len(text)) + text + tail
    else:
        data = struct.pack("<Q", header) + tail
    (checkpoint / "net.safetensors").write_bytes(data)
    reseal(checkpoint)
    assert "net.safetensors is damaged" in refuse(*evaluated(run))


@pytest.mark.parametrize("name", ["../../../secret", "/etc/passwd", "..", "a/../../secret"])
def test_a_manifest_names_no_files_outside(run, checkpoint, tmp_path, refuse, name):
    (tmp_path / "secret").write_text("secret")
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["files"][name] = {"size": 6, "sha256": "0" * 64}
    seal(checkpoint, manifest)
    assert "sha256 " not in refuse(*evaluated(run))


@pytest.mark.parametrize("target", ["../../secret", "/tmp", "000000000/../../../secret", "x" * 99])
def test_a_pointer_names_no_folder_outside(run, checkpoint, tmp_path, refuse, target):
    checkpoint.rename(tmp_path / "secret")
    (run / "checkpoints" / "last").write_text(target)
    assert "has no checkpoint yet" in refuse(*evaluated(run), lines=2)  # and of the pointer


@pytest.mark.parametrize("name", ["state.json", "net.safetensors", "manifest.json"])
def test_a_checkpoint_reads_nothing_through_a_link(run, checkpoint, tmp_path, refuse, name):
    (checkpoint / name).rename(tmp_path / "secret")
    (checkpoint / name).symlink_to(tmp_path / "secret")
    assert name in refuse(*evaluated(run))


@pytest.mark.parametrize("name", ["state.json", "net.safetensors", "manifest.json"])
def test_a_checkpoint_does_not_wait_for_a_pipe(run, checkpoint, refuse, name):
    (checkpoint / name).unlink()
    os.mkfifo(checkpoint / name)
    assert name in refuse(*evaluated(run))


def test_a_checkpoint_that_is_a_link_is_refused(run, checkpoint, tmp_path, refuse):
    checkpoint.rename(tmp_path / "elsewhere")
    checkpoint.symlink_to(tmp_path / "elsewhere")
    refuse(*evaluated(run))


def test_a_pointer_that_is_a_link_is_not_read(run, checkpoint, tmp_path, refuse):
    (run / "checkpoints" / "last").rename(tmp_path / "secret")
    (run / "checkpoints" / "last").symlink_to(tmp_path / "secret")
    shutil.rmtree(checkpoint)
    assert "000000000" not in refuse(*evaluated(run), lines=2)


HUGE_BOX = {"kind": "Box", "dtype": "float32", "shape": [10**9], "low": 0, "high": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {"hidden_sizes": [100_000, 100_000]}},
        {"config": {"hidden_sizes": [1] * 100_000}},
        {"config": {"hidden_sizes": [10**18]}},
        {"config": {"gru_hidden_size": 10**9}},
        {"config": {"gru_hidden_size": 100_000}},
        {"config": {"activation": "a\nb"}},
        {"config": {"nonsense\nkey": 1}},
        {"config": {"gamma": None}},
        {"config": None},
        {"agent": "os"},
        {"agent": "a\nb"},
        {"agent": ["ppo"]},
        {"agent": "dqn"},
        {"seed": "abc"},
        {"seed": 10**400},
        {"seed": -(2**70)},
        {"counters": {"steps": "abc"}},
        {"counters": {"steps": [1]}},
        {"counters": None},
        {"env": 5},
        {"env": {"id": "os:system"}},
        {"env": {"id": "a\nb"}},
        {"env": {"id": "Ant-v5", "kwargs": {"xml_file": "/etc/passwd"}}},
        {"env": {"kwargs": {"nonsense": 1}}},
        {"env": {"kwargs": {"render_mode": "human"}}},
        {"env": {"kwargs": {"vector_kwargs": {"shared_memory": 1}}}},
        {"observation_space": None},
        {"observation_space": HUGE_BOX},
        {"observation_space": {"kind": "MultiBinary", "n": 10**12}},
        {"action_space": HUGE_BOX},
        {"action_space": {"kind": "Discrete", "n": 10**6, "start": 0}},
    ],
    ids=lambda changes: json.dumps(changes)[:60],
)
def test_a_state_that_declares_nonsense_is_refused(run, checkpoint, refuse, changes):
    change(checkpoint, **changes)
    refuse(*evaluated(run))


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' + "[" * 100_000,
        '{"agent": ' + "9" * 5000 + "}",
        "[]",
        "",
        '{"agent": "\xff"}',
    ],
    ids=["deep", "digits", "list", "empty", "latin"],
)
def test_a_state_that_is_no_json_object_is_refused(run, checkpoint, refuse, text):
    (checkpoint / "state.json").write_text(text, encoding="latin-1")
    reseal(checkpoint)
    assert "state.json" in refuse(*evaluated(run))


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.mkdir ['MARKER']",
        "agent: !!python/object/apply:os.mkdir ['MARKER']",
        "agent: !!python/object/new:os.mkdir ['MARKER']",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "agent: [" * 5000,
        "agent: ppo\nagent: dqn",
        "agent: ../../secret\nenv: {id: CartPole-v1}\nsteps: 5\nrun: x",
        "a: " + "x" * 70_000,
    ],
    ids=["root", "apply", "new", "laughs", "deep", "twice", "traversal", "long"],
)
def test_a_config_made_to_do_harm_is_refused(run, tmp_path, trap, refuse, text):
    (run / "config.yaml").write_text(text.replace("MARKER", str(trap.marker)))
    refuse("resume", run)


@pytest.mark.slow
def test_nothing_runs_in_a_process_of_its_own_either(run, checkpoint, tmp_path, trap):
    (checkpoint / "net.safetensors").write_bytes(saved({"a": trap}))
    reseal(checkpoint)
    model = archived(tmp_path / "model.zip", {"policy.pth": saved({"a": trap})})
    for arguments in (evaluated(run), imported(model)):
        done = subprocess.run(
            [sys.executable, "-m", "robolearn", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 2
        assert done.stderr.startswith("robolearn: ")
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""


# Runs to go on with


@pytest.fixture
def stopped(tmp_path):
    """A run that can be resumed."""
    with signal_at(60):
        train(config("dqn mujoco", tmp_path / "stopped", steps=4000))
    return tmp_path / "stopped"


def damaged(run, file, key, tensor):
    """Write another tensor into the newest checkpoint, whose manifest fits it again."""
    path = newest(run) / f"{file}.safetensors"
    save_file({**load_file(path), key: tensor}, path)
    reseal(newest(run))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["checkpoints", ".lock", "metrics.jsonl", "tb", "meta.json"])
def test_going_on_with_a_run_touches_nothing_through_a_link(stopped, tmp_path, refuse, name):
    victim = tmp_path / "victim"
    if (stopped / name).is_dir():
        (stopped / name).rename(victim)
        (victim / ".secret").write_text("mine")
    else:
        victim.write_text("mine")
        (stopped / name).unlink()
    (stopped / name).symlink_to(victim)
    assert "links in a run are not followed" in refuse("resume", stopped)
    assert (victim / ".secret" if victim.is_dir() else victim).read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "key", "shape"),
    [
        ("optimizer", "0.exp_avg", (1,)),
        ("optimizer", "0.exp_avg_sq", (1,)),
        ("optimizer", "0.step", (3,)),
        ("replay", "obs", (1, 4)),
        ("replay", "reward", (1,)),
        ("priorities", "node", (1,)),
        ("priorities", "highest", (2,)),
        ("collector", "obs", (1, 4)),
        ("collector", "_total", (1,)),
    ],
)
def test_arrays_of_other_shapes_are_not_spread_over_what_they_do_not_fit(
    stopped, refuse, file, key, shape
):
    kept = load_file(newest(stopped) / f"{file}.safetensors")[key]
    damaged(stopped, file, key, torch.zeros(shape, dtype=kept.dtype))
    assert f"{key.split('.')[-1]} has shape {shape}" in refuse("resume", stopped)


def test_a_memory_larger_than_what_is_stored_of_it_takes_no_room(stopped, refuse):
    import resource

    change(newest(stopped), config={"buffer_size": 2_000_000_000})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refuse("resume", stopped)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB


def test_a_dump_without_its_numbers_is_refused(tmp_path, refuse):
    dump = tmp_path / "dump"
    dump.mkdir()
    (dump / "dump.json").write_text('{"env": {"id": "CartPole-v1"}, "start": {"seed": 0}}')
    write_arrays(dump / "steps.npz", {"since_start": np.array([0, 99])})
    refuse("record", "--from-dump", dump, "--out", tmp_path / "film.mp4")
