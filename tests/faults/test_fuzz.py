"""Whatever is done to a file, reading it ends soon, in little memory, and with our error alone."""

import io
import json
import resource
import shutil
import time
import warnings
import zipfile

import numpy as np
import pytest
import torch
from damage import damaged, reseal, seal, twisted
from gymnasium import spaces
from often import often

from robolearn.agents import AGENTS, agent_class
from robolearn.agents.load import load_agent
from robolearn.agents.ppo import PPO, PPOConfig
from robolearn.baselines.sb3_files import read_policy
from robolearn.config import from_dict, to_dict
from robolearn.config_yaml import read_yaml, write_yaml
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError, RobolearnWarning
from robolearn.files import read_arrays, read_json, write_arrays
from robolearn.spaces_json import space_from_json, space_to_json
from robolearn.train import TrainConfig
from robolearn_envs.arenas.custom import layout_from_json

TIMES = often(30, 1200)  # of each test
SECONDS = 5.0
MEMORY = 2**30  # bytes

SPACE = spaces.Dict(
    {
        "box": spaces.Box(np.float32([-1.0, -np.inf]), np.float32([2.5, np.inf])),
        "picture": spaces.Box(0, 255, (20, 20, 3), np.uint8),
        "more": spaces.Tuple([spaces.Discrete(4, start=2), spaces.MultiBinary([2, 3])]),
        "choices": spaces.MultiDiscrete([2, 3], start=[1, 1]),
    }
)
LAYOUT = {
    "goal": [1.5, 1.5],
    "start": [-1.5, -1.5, 0.5],
    "cylinders": [[0.0, 0.5, 0.2], [0.5, -0.5, 0.2]],
    "movers": [[-0.5, 0.0, 0.1, 0.3, 0.1, 1.0, 0.5]],
    "boxes": [[1.0, -1.0, 0.2, 0.3]],
}


@pytest.fixture(autouse=True)
def _in_little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts KiB
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before < MEMORY


def endure(read, mutants, *, refusal=RobolearnError):
    """Read things, each of which is read or refused in time; return how many were refused."""
    refused = 0
    for k, mutant in enumerate(mutants):
        start, said = time.perf_counter(), ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RobolearnWarning)
            try:
                read(mutant)
            except refusal as error:
                refused += 1
                said = str(error)
            except Exception as error:
                error.add_note(f"mutant {k}: {str(mutant)[:2000]}")
                raise
        took = time.perf_counter() - start
        assert "\n" not in said, f"mutant {k}: {said[:1000]}"
        assert took < SECONDS, f"mutant {k} took {took:.1f} s"
    return refused


def files(path, data, seed):
    """Yield a path TIMES times, each time with other damage to what lies there."""
    rng = np.random.default_rng(seed)
    for _ in range(TIMES):
        path.write_bytes(damaged(data, rng))
        yield path


def test_damaged_arrays_are_read_or_refused(tmp_path):
    path = tmp_path / "arrays.npz"
    arrays = {"a": np.arange(30.0).reshape(5, 6), "b": np.array([True]), "c": np.zeros((0, 2))}
    write_arrays(path, arrays)
    assert endure(read_arrays, files(path, path.read_bytes(), 1)) > 0.9 * TIMES


def test_arrays_whose_headers_were_changed_are_read_or_refused(tmp_path):
    rng, path = np.random.default_rng(2), tmp_path / "arrays.npz"
    member = io.BytesIO()
    np.save(member, np.arange(12, dtype=np.int16).reshape(3, 4))

    def mutants():
        for _ in range(TIMES):
            with zipfile.ZipFile(path, "w") as archive:
                header = damaged(member.getvalue()[:128], rng)
                archive.writestr("a.npy", header + member.getvalue()[128:])
            yield path

    assert endure(read_arrays, mutants()) > 0.5 * TIMES


def test_damaged_json_is_read_or_refused(tmp_path):
    path = tmp_path / "file.json"
    text = json.dumps({"space": space_to_json(SPACE), "config": to_dict(PPOConfig())})
    assert endure(read_json, files(path, text.encode(), 3)) > 0.5 * TIMES


def test_damaged_yaml_is_read_or_refused_and_so_is_the_config_in_it(tmp_path):
    path = tmp_path / "config.yaml"
    env = EnvConfig(id="CartPole-v1", kwargs={"sutton_barto_reward": True})
    hyper = to_dict(PPOConfig())
    write_yaml(path, TrainConfig(agent="ppo", env=env, steps=5, run=tmp_path, hyper=hyper))

    def read(given):
        from_dict(PPOConfig, from_dict(TrainConfig, read_yaml(given)).hyper)

    assert endure(read, files(path, path.read_bytes(), 4)) > 0.5 * TIMES


def test_yaml_of_odd_pieces_is_read_or_refused(tmp_path):
    rng, path = np.random.default_rng(5), tmp_path / "config.yaml"
    pieces = ["a: ", "- ", "? ", "[", "]", "{", "}", ", ", "\n", "\n  ", "!!int ", "!!float ''"]
    pieces += ["!!bool x", "!!set ", "!!omap ", "!!binary ", "!!python/name:os.system", "&a ", "*a"]
    pieces += ["2024-99-99", "0x", "0b_", "1:99:1.", "<<: ", "'", '"', "\\ud800", "|\n", ">", "%"]
    pieces += ["---\n", "...\n", "# ", "\t", "\0", "\u2028", "~", ".nan", "1e999", "=", "!<x> "]

    def mutants():
        for _ in range(TIMES):
            chosen = rng.choice(pieces, size=rng.integers(1, 40))
            path.write_text("".join(chosen), encoding="utf-8")
            yield path

    assert endure(read_yaml, mutants()) > 0.5 * TIMES


def test_damaged_and_twisted_layouts_are_read_or_refused():
    rng, text = np.random.default_rng(6), json.dumps(LAYOUT).encode()
    layout_from_json(LAYOUT)
    texts = (damaged(text, rng).decode("latin-1") for _ in range(TIMES // 2))
    assert endure(layout_from_json, texts, refusal=ValueError) > 0.2 * TIMES
    twists = (twisted(LAYOUT, rng) for _ in range(TIMES // 2))
    assert endure(layout_from_json, twists, refusal=ValueError) > 0.2 * TIMES


def test_twisted_spaces_are_read_or_refused():
    rng, told = np.random.default_rng(7), space_to_json(SPACE)
    assert endure(space_from_json, (twisted(told, rng) for _ in range(TIMES))) > 0.5 * TIMES


def test_twisted_configs_of_all_agents_are_read_or_refused():
    rng = np.random.default_rng(8)
    classes = [agent_class(name).Config for name in AGENTS]
    chosen = (classes[k % len(classes)] for k in range(TIMES))
    twists = ((cls, twisted(to_dict(cls()), rng)) for cls in chosen)
    assert endure(lambda both: from_dict(*both), twists) > 0.3 * TIMES


def model(folder, program=None):
    """Write a model as SB3 saves it, with another pickle in it if one is given."""
    sizes = {"mlp_extractor.policy_net.0": (8, 4), "mlp_extractor.value_net.0": (8, 4)}
    sizes |= {"action_net": (2, 8), "value_net": (1, 8)}
    state = {f"{name}.weight": torch.ones(shape) for name, shape in sizes.items()}
    state |= {f"{name}.bias": torch.ones(shape[0]) for name, shape in sizes.items()}
    inner, again = io.BytesIO(), io.BytesIO()
    torch.save(state, inner)
    with zipfile.ZipFile(inner) as old, zipfile.ZipFile(again, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            changed = program is not None and name.endswith("data.pkl")
            new.writestr(name, program(content) if changed else content)
    with zipfile.ZipFile(folder / "model.zip", "w") as archive:
        archive.writestr("data", "{}")
        archive.writestr("policy.pth", again.getvalue())
    return folder / "model.zip"


def test_damaged_models_of_sb3_are_read_or_refused(tmp_path):
    path = model(tmp_path)
    assert read_policy(path).hidden == (8,)
    assert endure(read_policy, files(path, path.read_bytes(), 9)) > 0.5 * TIMES


def test_models_of_sb3_with_a_damaged_pickle_are_read_or_refused(tmp_path):
    rng = np.random.default_rng(10)
    mutants = (model(tmp_path, lambda given: damaged(given, rng)) for _ in range(TIMES))
    assert endure(read_policy, mutants) > 0.5 * TIMES


@pytest.fixture
def run(tmp_path):
    """A run folder with a small agent, as a training leaves it."""
    config = PPOConfig(hidden_sizes=(8,), num_envs=2, n_steps=4, batch_size=8)
    agent = PPO("CartPole-v1", config, device="cpu")
    folder = tmp_path / "run" / "checkpoints" / "000000000"
    agent.save(folder)
    (folder.parent / "last").write_text("000000000\n")
    write_yaml(tmp_path / "run" / "config.yaml", agent.config)
    load_agent(tmp_path / "run", device="cpu")
    return tmp_path / "run"


def test_a_run_with_a_damaged_file_is_refused(run):
    rng = np.random.default_rng(11)
    paths = [path for path in run.rglob("*") if path.is_file() and path.name != "config.yaml"]
    sound = {path: path.read_bytes() for path in paths}

    def mutants():
        for _ in range(TIMES):
            path = paths[rng.integers(len(paths))]
            path.write_bytes(damaged(sound[path], rng))
            yield run
            path.write_bytes(sound[path])

    assert endure(lambda path: load_agent(path, device="cpu"), mutants()) > 0.5 * TIMES


def test_a_run_that_was_changed_on_purpose_is_read_or_refused(run):
    rng, checkpoint = np.random.default_rng(12), run / "checkpoints" / "000000000"
    sound = checkpoint.with_name("sound")
    shutil.copytree(checkpoint, sound)
    state = json.loads((sound / "state.json").read_text())
    manifest = json.loads((sound / "manifest.json").read_text())
    tensors = sorted(path.name for path in sound.glob("*.safetensors"))

    def mutants():
        for _ in range(TIMES):
            shutil.rmtree(checkpoint)
            shutil.copytree(sound, checkpoint)
            what = rng.integers(4)
            if what == 0:
                seal(checkpoint, twisted(manifest, rng))
                yield run
                continue
            if what == 1:
                name = tensors[rng.integers(len(tensors))]
                data = (sound / name).read_bytes()
                cut = 8 + int.from_bytes(data[:8], "little")  # sizes and names stand at the front
                (checkpoint / name).write_bytes(damaged(data[:cut], rng) + data[cut:])
            else:
                (checkpoint / "state.json").write_text(json.dumps(twisted(state, rng)))
            reseal(checkpoint)
            yield run

    assert endure(lambda path: load_agent(path, device="cpu"), mutants()) > 0.3 * TIMES
