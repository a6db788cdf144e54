"""Sets on disk: plain Minari reads ours, we read plain Minari's, and what cannot be is refused."""

import json
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import gymnasium as gym
import h5py
import minari
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer

from robolearn.environments import EnvConfig, TrainingEnvs
from robolearn.errors import RobolearnError
from robolearn.imitation.demos.card import Card, plain_env
from robolearn.imitation.demos.episodes import Demonstration, Demonstrations
from robolearn.imitation.demos.saving import draft, named, write_demos
from robolearn.imitation.demos.storage import read_demos, require_for

BALANCE = EnvConfig(
    id="robolearn/CartPoleBalance-v0", engine="bullet", kwargs={"action": "discrete"}
)
BOX = spaces.Box(-5, 5, (5,), np.float32)
LEFT_RIGHT = spaces.Discrete(2)


def batch(space, count, seed):
    """Return a batch of a space, of arrays nested as it is."""
    if isinstance(space, spaces.Dict):
        return {name: batch(part, count, seed) for name, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(batch(part, count, seed) for part in space)
    space.seed(seed)
    return np.array([space.sample() for _ in range(count)], space.dtype)


def episode(steps, seed, observation_space=BOX, action_space=LEFT_RIGHT):
    """Return an episode of random numbers that ends by termination."""
    rng = np.random.default_rng(seed)
    ends = np.arange(steps) == steps - 1
    return Demonstration(
        observation=batch(observation_space, steps + 1, seed),
        action=batch(action_space, steps, seed),
        reward=rng.normal(size=steps),
        terminated=ends,
        truncated=np.zeros(steps, np.bool_),
        clean_action=batch(action_space, steps, seed + 1),
        state={"qpos": rng.normal(size=(steps + 1, 2)), "qvel": rng.normal(size=(steps + 1, 2))},
        success=bool(seed % 2),
        seed=seed,
    )


def store(folder, episodes, observation_space=BOX, action_space=LEFT_RIGHT, env=None):
    """Write a set."""

    def describe(tally):
        return Card(**tally.figures(), env=plain_env(env), expert="test", asked=len(tally.returns))

    write_demos(
        folder,
        episodes,
        env=env,
        observation_space=observation_space,
        action_space=action_space,
        describe=describe,
    )
    return folder


@pytest.fixture
def stored(tmp_path):
    """A set of two episodes, of 4 and 3 steps."""
    return store(tmp_path / "sets" / "two-v0", [episode(4, 0), episode(3, 1)])


def same(ours, theirs):
    """Whether nested arrays are equal, types too."""
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


SPACES = {
    "vector": BOX,
    "cell": spaces.Discrete(7, start=3),
    "picture": spaces.Box(0, 255, (40, 40, 3), np.uint8),
    "depth": spaces.Dict({"depth": spaces.Box(0, 1, (64, 64), np.float32), "goal": BOX}),
    "pair": spaces.Tuple([spaces.MultiDiscrete([2, 5]), spaces.MultiBinary(3)]),
}


@pytest.mark.parametrize("name", SPACES)
def test_plain_minari_reads_what_was_written_and_so_do_we(tmp_path, name):
    written = [episode(4, 0, SPACES[name]), episode(30, 1, SPACES[name])]
    folder = store(tmp_path / "set-v0", written, SPACES[name])
    theirs = minari.MinariDataset(folder / "data")
    ours = read_demos(folder)
    assert theirs.observation_space == ours.observation_space == SPACES[name]
    assert theirs.action_space == ours.action_space == LEFT_RIGHT
    assert (theirs.total_episodes, theirs.total_steps) == (2, 34)
    for one, other, again in zip(written, theirs, ours.episodes, strict=True):
        for read in (other.observations, again.observation):
            assert same(one.observation, read)
        assert same(one.action, other.actions)
        assert same(one.action, again.action)
        assert same(one.reward, other.rewards)
        assert same(one.reward, again.reward)
        assert same(one.terminated, other.terminations)
        assert same(one.truncated, again.truncated)
        assert same(one.clean_action, other.infos["expert_action"])
        assert same(one.clean_action, again.clean_action)
        assert same(one.state, other.infos["state"])
        assert same(one.state, again.state)
        assert other.infos["success"].tolist() == [False] * len(one) + [one.success]
        assert (again.success, again.seed) == (one.success, one.seed)
    told = list(theirs.storage.get_episode_metadata([0, 1]))
    assert [facts["seed"] for facts in told] == [0, 1]


def test_plain_minari_finds_a_set_by_its_name_and_makes_its_environment(tmp_path):
    store(tmp_path / "sets" / "balance-bullet-v0", [episode(4, 0)], env=BALANCE)
    code = """
import json, minari, robolearn_envs
data = minari.load_dataset("balance-bullet-v0")
env = data.recover_environment()
told = {"listed": list(minari.list_local_datasets()), "steps": data.total_steps}
told |= {"engine": env.unwrapped.vector_env.engine_name, "n": int(env.action_space.n)}
print(json.dumps(told))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MINARI_DATASETS_PATH": str(tmp_path / "sets")},
    )
    expected = {"listed": ["balance-bullet-v0"], "steps": 4, "engine": "bullet", "n": 2}
    assert json.loads(done.stdout) == expected


def test_the_environment_is_read_back_as_it_was(tmp_path):
    env = EnvConfig(id="robolearn/NavLidar-v0", engine="mujoco", kwargs={"level": 2})
    folder = store(tmp_path / "nav-v0", [episode(4, 0)], env=env)
    assert read_demos(folder).env == env
    assert read_demos(folder).episodes[0].success is False


def made_by_minari(monkeypatch, tmp_path, **how):
    """Have plain Minari store three episodes of CartPole-v1; return its folder and the buffers."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "theirs"))
    buffers = []
    with gym.make("CartPole-v1") as env:
        env.action_space.seed(0)
        for seed in range(3):
            seen, reward, ends, ended = [env.reset(seed=seed)[0]], [], [], False
            actions = []
            while not ended:
                actions.append(env.action_space.sample())
                obs, gain, terminated, truncated, _ = env.step(actions[-1])
                ended = terminated or truncated
                seen.append(obs)
                reward.append(gain)
                ends.append((terminated, truncated))
            terminations, truncations = map(list, zip(*ends, strict=True))
            buffers.append(
                EpisodeBuffer(
                    seed=seed,
                    observations=seen,
                    actions=actions,
                    rewards=reward,
                    terminations=terminations,
                    truncations=truncations,
                )
            )
        told = {"algorithm_name": "random", "author": "x", "author_email": "x@y"}
        told |= {"code_permalink": "z", "description": "w"}
        minari.create_dataset_from_buffers(
            "cartpole/random-v3", buffers, env=env, eval_env="CartPole-v1", **told, **how
        )
    return tmp_path / "theirs" / "cartpole" / "random-v3", buffers


@pytest.mark.parametrize("inside", ["", "data"])
def test_sets_made_by_plain_minari_are_read(monkeypatch, tmp_path, inside):
    folder, buffers = made_by_minari(monkeypatch, tmp_path)
    demos = read_demos(folder / inside)
    assert demos.env == EnvConfig(id="CartPole-v1")
    assert demos.observation_space == gym.make("CartPole-v1").observation_space
    assert len(demos.episodes) == 3
    for buffer, one in zip(buffers, demos.episodes, strict=True):
        assert same(np.array(buffer.observations), one.observation)
        assert one.action.tolist() == buffer.actions
        assert one.reward.tolist() == buffer.rewards
        assert one.terminated[-1]
        assert (one.clean_action, one.success, one.state) == (None, None, {})
        assert one.seed == buffer.seed
    assert demos.steps().obs.shape == (sum(map(len, buffers)), 4)


def test_a_few_episodes_of_many_can_be_read(stored):
    assert [len(one) for one in read_demos(stored, episodes=1).episodes] == [4]
    with pytest.raises(RobolearnError, match="has 2 episodes, 3 were asked for"):
        read_demos(stored, episodes=3)


def test_a_set_is_found_without_its_version_and_by_its_data(stored):
    for path in (stored, stored / "data", stored.with_name("two"), str(stored)):
        assert len(read_demos(path).episodes) == 2


def test_sets_of_unknown_environments_are_read(stored):
    without_card(stored, metadata={"env_spec": json.dumps({"id": "Nobody-v9", "kwargs": {}})})
    assert read_demos(stored).env is None


# What cannot be.


def without_card(folder, metadata=None, data=None):
    """Edit a set, and forget what its card says."""
    (folder / "card.json").unlink(missing_ok=True)
    path = folder / "data" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | (metadata or {})))
    if data is not None:
        with h5py.File(folder / "data" / "main_data.hdf5", "r+") as file:
            data(file)


def replaced(name, array, **how):
    """Return an edit that puts other numbers in place of an array of the second episode."""

    def edit(file):
        group = file["episode_1"]
        del group[name]
        group.create_dataset(name, data=array, **how)

    return edit


def broken_row(file):
    file["episode_1/observations"][2, 1] = np.nan


def a_link(kind):
    def edit(file):
        del file["episode_1/rewards"]
        file["episode_1/rewards"] = kind

    return edit


def elsewhere(file):
    del file["episode_1/rewards"]
    file["episode_1"].create_dataset("rewards", (3,), "f8", external=[("/etc/passwd", 0, 24)])


def virtual(file):
    del file["episode_1/rewards"]
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3,))
    file["episode_1"].create_virtual_dataset("rewards", layout)


def enormous(file):
    del file["episode_1/rewards"]
    file["episode_1"].create_dataset("rewards", (2**40,), "f8", chunks=(2**16,))


def absent(file):
    del file["episode_1/rewards"]
    file["episode_1"].create_dataset("rewards", (3,), "f8", chunks=(3,))


def bomb(size):
    """Write a block that inflates to a size, where 24 bytes are due."""

    def edit(file):
        del file["episode_1/rewards"]
        how = {"chunks": (3,), "compression": "gzip"}
        data = file["episode_1"].create_dataset("rewards", (3,), "f8", **how)
        data.id.write_direct_chunk((0,), zlib.compress(bytes(size)))

    return edit


def text(file):
    del file["episode_1/rewards"]
    file["episode_1"].create_dataset("rewards", data=["a", "b", "c"])


def circle(file):
    del file["episode_1"]
    file["episode_1"] = file["/"]


BAD_DATA = {
    "nan": (broken_row, "episode_1/observations is not finite in row 2"),
    "inf": (replaced("rewards", [0, np.inf, 0]), "episode_1/rewards is not finite in row 1"),
    "short": (
        replaced("observations", np.zeros((3, 5), "f4")),
        r"episode_1/observations has shape \(3, 5\), expected \(4, 5\)",
    ),
    "wide": (
        replaced("observations", np.zeros((4, 6), "f4")),
        r"episode_1/observations has shape \(4, 6\), expected \(4, 5\)",
    ),
    "action": (
        replaced("actions", [0, 1, 2]),
        r"episode_1/actions has 2, expected numbers of Discrete\(2\)",
    ),
    "negative": (replaced("actions", [0, -1, 1]), "episode_1/actions has -1, expected numbers of"),
    "fraction": (replaced("actions", [0.0, 0.5, 1]), "has float64, expected whole numbers"),
    "early": (replaced("terminations", [False, True, True]), "has the episode end at step 1 of 3"),
    "flags": (replaced("truncations", [0, 0, 7]), "expected truth values"),
    "none": (replaced("rewards", np.zeros(0)), "episode_1 has no steps"),
    "complex": (replaced("rewards", np.zeros(3, "c16")), "must hold numbers or truth values"),
    "text": (text, "must hold numbers or truth values"),
    "soft link": (a_link(h5py.SoftLink("/episode_0/rewards")), "links are not followed"),
    "file link": (a_link(h5py.ExternalLink("/etc/passwd", "/")), "links are not followed"),
    "elsewhere": (elsewhere, "lie in other files"),
    "virtual": (virtual, "lie in other files"),
    "enormous": (enormous, "too much for a file of"),
    "absent": (absent, "has 0 of its 1 blocks"),
    "bomb": (bomb(2**20), "a block of .* is of 1,0.. bytes, too large"),
    "small bomb": (bomb(20_000), "does not inflate to 24 bytes"),
    "small": (bomb(23), "does not inflate to 24 bytes"),
    "circle": (circle, "has no 'rewards'"),
    "lzf": (replaced("rewards", np.zeros(3), compression="lzf"), "not compressed by gzip"),
    "missing": (lambda file: file.pop("episode_1"), "has no 'episode_1'"),
    "seed": (
        lambda file: file["episode_1"].attrs.__setitem__("seed", "x" * 9),
        "seed of /episode_1 must be a whole number",
    ),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_numbers_that_cannot_be_are_refused_in_one_line(stored, name):
    edit, message = BAD_DATA[name]
    without_card(stored, data=edit)
    with pytest.raises(RobolearnError, match=message) as refusal:
        read_demos(stored)
    assert "\n" not in str(refusal.value)
    assert "main_data.hdf5" in str(refusal.value)


BOX_TOLD = {"type": "Box", "dtype": "float32", "shape": [5], "low": [-5.0] * 5, "high": [5.0] * 5}
BAD_METADATA = {
    "arrow": ({"data_format": "arrow"}, "data_format is 'arrow', expected 'hdf5'"),
    "none": ({"total_episodes": 0}, "total_episodes is 0, expected a number above 0"),
    "more": ({"total_episodes": 10**9}, "has no 'episode_2'"),
    "text": ({"total_episodes": "2"}, "total_episodes is '2'"),
    "space": ({"observation_space": "{"}, "observation_space is no JSON"),
    "list": ({"observation_space": [1]}, "observation_space must be an object in a string"),
    "kind": ({"action_space": json.dumps({"type": "Text"})}, "of type 'Text', expected one of"),
    "part": ({"action_space": json.dumps({"type": "Dict", "subspaces": {"a": 1}})}, "got 1"),
    "deep": ({"action_space": '{"type": "Tuple", "subspaces": [' * 99 + "]}" * 99}, "a space"),
    "huge": ({"observation_space": json.dumps(BOX_TOLD | {"shape": [10**12]})}, "whole number"),
    "bounds": ({"observation_space": json.dumps(BOX_TOLD | {"low": 9})}, "must lie below"),
    "jpeg": (
        {
            "observation_space": json.dumps(
                BOX_TOLD | {"dtype": "uint8", "shape": [64, 64], "low": 0, "high": 255}
            ),
            "jpeg_encoding": True,
        },
        "jpeg_encoding is true, expected false",
    ),
    "path": (
        {"env_spec": json.dumps({"id": "Ant-v5", "kwargs": {"xml_file": "/etc/passwd"}})},
        "names no files",
    ),
    "spec": ({"env_spec": json.dumps({"id": 5})}, "env_spec must have an id"),
}


@pytest.mark.parametrize("name", BAD_METADATA)
def test_metadata_that_cannot_be_is_refused_in_one_line(stored, name):
    metadata, message = BAD_METADATA[name]
    without_card(stored, metadata=metadata)
    with pytest.raises(RobolearnError, match=message) as refusal:
        read_demos(stored)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kept", [0, 10, 500, -1])
def test_a_file_that_was_cut_off_is_refused(stored, kept):
    without_card(stored)
    path = stored / "data" / "main_data.hdf5"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(RobolearnError, match="is damaged or no HDF5"):
        read_demos(stored)


def test_a_file_that_is_a_link_is_refused(stored, tmp_path):
    without_card(stored)
    path = stored / "data" / "main_data.hdf5"
    path.rename(tmp_path / "aside")
    path.symlink_to(tmp_path / "aside")
    with pytest.raises(RobolearnError, match="it is a symbolic link"):
        read_demos(stored)


def test_a_set_edited_after_its_card_was_written_is_refused(stored):
    with h5py.File(stored / "data" / "main_data.hdf5", "r+") as file:
        file["episode_1/rewards"][0] = 100.0
    with pytest.raises(RobolearnError, match=r"edited after .*: s.* is .*, the card says"):
        read_demos(stored)


@pytest.mark.parametrize(("key", "found"), [("total_episodes", 1), ("total_steps", 8)])
def test_metadata_edited_after_the_card_was_written_is_refused(stored, key, found):
    path = stored / "data" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: found}))
    name = key.removeprefix("total_")
    with pytest.raises(RobolearnError, match=f"{name} is {found}, the card says [27]"):
        read_demos(stored)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema is 2, expected 1"),
        ({"episodes": "two"}, "episodes must be an integer"),
        ({"nonsense": 1}, "Unknown key of Card"),
        ({"env": {"id": 5}}, "env must have an id"),
        ({"env": {"id": "a", "kwargs": [1]}}, "env must have an id"),
    ],
)
def test_a_card_that_cannot_be_is_refused(stored, changes, message):
    path = stored / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(RobolearnError, match=message):
        read_demos(stored)


def test_where_there_is_nothing_one_is_told_how_to_record(tmp_path):
    with pytest.raises(RobolearnError, match=r"holds no demonstrations .* demos record"):
        read_demos(tmp_path)


# What is fit for whom.


def envs(observation_space=BOX, action_space=LEFT_RIGHT, env=None):
    return TrainingEnvs(env, observation_space, action_space)


def recorded(env=None, observation_space=BOX):
    one = episode(3, 0, observation_space)
    return Demonstrations(
        env=env,
        observation_space=observation_space,
        action_space=LEFT_RIGHT,
        episodes=[one],
        name="demos/x-v0",
    )


def test_another_engine_robot_or_level_is_no_hindrance():
    other = EnvConfig(id=BALANCE.id, engine="mujoco", kwargs={"domain_randomization": 0.1})
    require_for(recorded(BALANCE), envs(env=other))
    require_for(recorded(None), envs(env=other))
    require_for(recorded(BALANCE), envs(env=None))


def test_another_environment_is_refused_unless_allowed():
    other = EnvConfig(id="robolearn/CartPoleSwingUp-v0")
    with pytest.raises(RobolearnError) as refusal:
        require_for(recorded(BALANCE), envs(env=other))
    assert str(refusal.value) == (
        "demos/x-v0 was recorded elsewhere: env is robolearn/CartPoleBalance-v0, expected "
        "robolearn/CartPoleSwingUp-v0. Record a set with: robolearn demos record "
        "--env robolearn/CartPoleSwingUp-v0"
    )
    require_for(recorded(BALANCE), envs(env=other), allow_other_env=True)


@pytest.mark.parametrize(
    ("theirs", "ours", "message"),
    [
        (BOX, spaces.Box(-5, 5, (4,), np.float32), r"shape of observation_space is \(5,\)"),
        (BOX, spaces.Box(-5, 5, (5,), np.float64), "dtype of observation_space is float32"),
        (BOX, spaces.Box(-4, 5, (5,), np.float32), r"low\[0\] of observation_space is -5.0"),
        (BOX, spaces.Discrete(5), r"observation_space is Box\(.*expected Discrete\(5\)"),
        (
            spaces.Dict({"a": BOX}),
            spaces.Dict({"a": BOX, "b": BOX}),
            "keys of observation_space is a, expected a, b",
        ),
        (
            spaces.Dict({"a": BOX}),
            spaces.Dict({"a": spaces.Box(-5, 5, (2,), np.float32)}),
            r"shape of observation_space\['a'\] is \(5,\), expected \(2,\)",
        ),
    ],
)
def test_other_spaces_are_refused_and_it_is_said_how_they_differ(theirs, ours, message):
    with pytest.raises(RobolearnError, match=message):
        require_for(recorded(observation_space=theirs), envs(ours), allow_other_env=True)


# Writing.


def test_the_same_episodes_make_the_same_bytes(tmp_path):
    import time

    store(tmp_path / "a" / "set-v0", [episode(4, 0)])
    time.sleep(1.1)  # the dates that HDF5 might note are in seconds
    store(tmp_path / "b" / "set-v0", [episode(4, 0)])
    for name in ("data/main_data.hdf5", "data/metadata.json", "card.json", "README.md"):
        assert (tmp_path / "a/set-v0" / name).read_bytes() == (
            tmp_path / "b/set-v0" / name
        ).read_bytes()


def test_what_repeats_is_stored_small(tmp_path):
    still = episode(500, 0, SPACES["depth"])
    still.observation["depth"][:] = 0.5
    folder = store(tmp_path / "set-v0", [still], SPACES["depth"])
    # 501 pictures of 64 * 64 * 4 bytes are 8.2 MB; random numbers are some 64 kB.
    assert (folder / "data" / "main_data.hdf5").stat().st_size < 150_000
    assert same(read_demos(folder).episodes[0].observation, still.observation)


def listing(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_set_that_is_there_is_not_touched(stored):
    before = (stored / "card.json").read_bytes()
    with pytest.raises(RobolearnError, match="already holds something"):
        store(stored, [episode(9, 9)])
    assert (stored / "card.json").read_bytes() == before
    assert listing(stored.parent) == ["two-v0"]


def test_nothing_is_left_of_what_went_wrong(tmp_path):
    def episodes():
        yield episode(4, 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store(tmp_path / "sets" / "set-v0", episodes())
    assert listing(tmp_path / "sets") == []


def test_a_set_without_episodes_is_not_written(tmp_path):
    with pytest.raises(RobolearnError, match="expected at least one"):
        store(tmp_path / "sets" / "set-v0", [])
    assert listing(tmp_path / "sets") == []


def test_what_a_killed_process_left_is_swept_away(tmp_path):
    left = tmp_path / ".set-v0.part"
    (left / "data").mkdir(parents=True)
    (left / "data" / "main_data.hdf5").write_text("half")
    store(tmp_path / "set-v0", [episode(4, 0)])
    assert listing(tmp_path) == ["set-v0"]


def test_what_was_to_be_replaced_when_a_process_was_killed_comes_back(stored):
    stored.rename(stored.with_name(".two-v0.old"))
    with pytest.raises(RobolearnError, match="already holds something"):
        store(stored, [episode(4, 0)])
    assert len(read_demos(stored).episodes) == 2
    assert listing(stored.parent) == ["two-v0"]


def test_two_processes_do_not_write_one_set(tmp_path):
    with draft(tmp_path / "set-v0") as hidden:
        (hidden / "mine").touch()
        with pytest.raises(RobolearnError, match="being written by another process"):
            store(tmp_path / "set-v0", [episode(4, 0)])
        assert listing(hidden) == ["mine"]


@pytest.mark.parametrize(
    ("asked", "given"), [("a", "a-v0"), ("a-v3", "a-v3"), ("A_b-c2", "A_b-c2-v0")]
)
def test_names_get_the_version_that_minari_wants(asked, given):
    assert named(Path("demos") / asked) == Path("demos") / given


@pytest.mark.parametrize("name", ["a.b", "a b", "ä", "..", "x" * 200])
def test_names_that_minari_refuses_are_refused(name):
    with pytest.raises(RobolearnError, match="Choose another --out"):
        named(Path("demos") / name)


@pytest.mark.slow
def test_a_full_disk_is_said_to_be_full_and_nothing_is_left(tmp_path):
    code = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from test_demos_storage import SPACES, episode, store
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
from robolearn.errors import SaveError
try:
    pictures = SPACES["picture"]
    store(Path(sys.argv[2]), [episode(50, k, pictures) for k in range(3)], pictures)
except SaveError as error:
    print(error)
"""
    folder = tmp_path / "sets" / "set-v0"
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.startswith("Cannot write "), done.stdout + done.stderr
    assert done.stdout.count("\n") == 1
    assert (done.returncode, listing(folder.parent)) == (0, [])


def test_a_set_can_be_moved(stored, tmp_path):
    shutil.move(stored, tmp_path / "elsewhere")
    assert len(read_demos(tmp_path / "elsewhere").episodes) == 2
