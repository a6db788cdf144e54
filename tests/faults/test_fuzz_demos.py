"""Whatever is done to a set of demonstrations, it is read or refused: soon, and in one line."""

import json
import resource
import shutil
import time

import numpy as np
import pytest
from damage import damaged, twisted
from gymnasium import spaces
from often import often

from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.imitation.demos.card import Card, plain_env, read_card
from robolearn.imitation.demos.episodes import Demonstration
from robolearn.imitation.demos.saving import write_demos
from robolearn.imitation.demos.storage import read_demos

TIMES = often(200, 1200)  # of each test
SECONDS = 5.0
MEMORY = 2**30  # bytes

SPACE = spaces.Dict({"place": spaces.Discrete(5), "seen": spaces.Box(-1, 1, (3,), np.float32)})


@pytest.fixture(autouse=True)
def _in_little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts KiB
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before < MEMORY


def episode(steps, seed):
    rng = np.random.default_rng(seed)
    return Demonstration(
        observation={
            "place": rng.integers(5, size=steps + 1),
            "seen": rng.uniform(-1, 1, (steps + 1, 3)).astype(np.float32),
        },
        action=rng.integers(2, size=steps),
        reward=rng.normal(size=steps),
        terminated=np.arange(steps) == steps - 1,
        truncated=np.zeros(steps, np.bool_),
        clean_action=rng.integers(2, size=steps),
        state={"qpos": rng.normal(size=(steps + 1, 2))},
        success=True,
        seed=seed,
    )


@pytest.fixture
def stored(tmp_path):
    env = EnvConfig(id="robolearn/NavLidar-v0", engine="mujoco", kwargs={"level": 1})
    write_demos(
        tmp_path / "set-v0",
        [episode(6, 0), episode(9, 1)],
        env=env,
        observation_space=SPACE,
        action_space=spaces.Discrete(2),
        describe=lambda tally: Card(
            **tally.figures(), env=plain_env(env), expert="test", asked=2, parameters={"a": [1, 2]}
        ),
    )
    return tmp_path / "set-v0"


def endure(read, mutants):
    """Read things, each of which is read or refused in time; return how many were refused."""
    refused = 0
    for k, mutant in enumerate(mutants):
        start, said = time.perf_counter(), ""
        try:
            read(mutant)
        except RobolearnError as error:
            refused += 1
            said = str(error)
        except Exception as error:
            error.add_note(f"mutant {k}")
            raise
        took = time.perf_counter() - start
        assert "\n" not in said, f"mutant {k}: {said[:1000]}"
        assert took < SECONDS, f"mutant {k} took {took:.1f} s"
    return refused


def test_damaged_episodes_are_read_or_refused(stored):
    rng, path = np.random.default_rng(1), stored / "data" / "main_data.hdf5"
    sound = path.read_bytes()
    (stored / "card.json").unlink()  # which would tell

    def mutants():
        for _ in range(TIMES):
            path.write_bytes(damaged(sound, rng))
            yield stored

    assert endure(read_demos, mutants()) > 0.5 * TIMES


def test_episodes_with_a_few_other_bytes_are_read_or_refused(stored):
    rng, path = np.random.default_rng(2), stored / "data" / "main_data.hdf5"
    sound = np.frombuffer(path.read_bytes(), np.uint8)
    (stored / "card.json").unlink()

    def mutants():
        for _ in range(TIMES):
            data, where = sound.copy(), rng.integers(len(sound), size=rng.integers(1, 4))
            data[where] = rng.integers(256, size=len(where))
            path.write_bytes(data.tobytes())
            yield stored

    endure(read_demos, mutants())


def test_any_damage_to_the_episodes_is_noticed_by_the_card(stored):
    rng, path = np.random.default_rng(3), stored / "data" / "main_data.hdf5"
    sound = path.read_bytes()
    changed = [data for data in (damaged(sound, rng) for _ in range(TIMES)) if data != sound]

    def mutants():
        for data in changed:
            path.write_bytes(data)
            yield stored

    assert endure(read_demos, mutants()) == len(changed)


@pytest.mark.parametrize("name", ["data/metadata.json", "card.json"])
def test_damaged_metadata_and_cards_are_read_or_refused(stored, name):
    rng, path = np.random.default_rng(4), stored / name
    sound = path.read_bytes()

    def mutants():
        for _ in range(TIMES):
            path.write_bytes(damaged(sound, rng))
            yield stored

    assert endure(read_demos, mutants()) > 0.3 * TIMES


def test_twisted_metadata_is_read_or_refused(stored):
    rng, path = np.random.default_rng(5), stored / "data" / "metadata.json"
    sound = json.loads(path.read_text())
    inner = [name for name, text in sound.items() if str(text).startswith("{")]
    assert len(inner) == 3  # two spaces and the environment
    shutil.copy(stored / "card.json", stored.parent)

    def mutants():
        for k in range(TIMES):
            changed = dict(sound)
            if k % 2:
                changed = twisted(changed, rng)
            else:
                name = inner[rng.integers(len(inner))]
                changed[name] = json.dumps(twisted(json.loads(sound[name]), rng))
            path.write_text(json.dumps(changed))
            yield stored

    (stored / "card.json").unlink()
    assert endure(read_demos, mutants()) > 0.3 * TIMES


def test_twisted_cards_are_read_and_told_of_or_refused(stored):
    rng, path = np.random.default_rng(6), stored / "card.json"
    sound = json.loads(path.read_text())

    def read(given):
        card = read_card(given / "card.json")
        assert card.readme()
        read_demos(given)

    def mutants():
        for _ in range(TIMES):
            path.write_text(json.dumps(twisted(sound, rng)))
            yield stored

    assert endure(read, mutants()) > 0.3 * TIMES
