"""Demonstrations by hand that go into a set on disk, and the command that records them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pygame
import pytest
from person import Person, key

from robolearn.cli import main
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.imitation.demos.human_set import HumanSet, demonstrate
from robolearn.imitation.demos.human_window import HumanWindow
from robolearn.imitation.demos.record import RecordConfig
from robolearn.imitation.demos.replay import replay
from robolearn.imitation.demos.storage import find_set, read_demos

BALANCE = "robolearn/CartPoleBalance-v0"
SCREENS = ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY")


@pytest.fixture
def no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


@pytest.fixture
def small(no_screen):
    window = HumanWindow(64, 48, fps=1000)
    pygame.event.clear()
    yield window
    window.close()


def sat(window, out, script, *, resume=False, episodes=10, seed=0, act=None):
    """Let a person demonstrate into a set, and return what came of it."""
    config = RecordConfig(
        env=EnvConfig(id=BALANCE, kwargs={"action": "continuous"}),
        expert="human",
        out=out,
        episodes=episodes,
        seed=seed,
        resume=resume,
    )
    env = config.env.make(render_mode="rgb_array", width=64, height=48)
    try:
        person = Person(window, script)
        person.act = act or {}
        return demonstrate(env, person, HumanSet(config, env))
    finally:
        env.close()


KEPT = {0: "return right", 50: "-right k"}


def test_every_episode_kept_is_on_disk_at_once(small, tmp_path):
    out = tmp_path / "mine-v0"
    there = {}

    def look(name):
        return lambda: there.update({name: len(read_demos(out).episodes) if out.exists() else 0})

    script = KEPT | {51: "return left", 100: "-left k", 101: "q"}
    act = {49: look("first"), 51: look("second"), 101: look("third")}
    session = sat(small, out, script, act=act)
    assert there == {"first": 0, "second": 1, "third": 2}
    assert session.kept == 2
    card = find_set(out).card
    assert (card.expert, card.episodes, card.asked, card.seed) == ("human", 2, 10, 0)
    assert card.env == {"id": BALANCE, "engine": "mujoco", "kwargs": {"action": "continuous"}}
    assert card.dt == pytest.approx(0.02)
    demos = read_demos(out)
    assert [one.seed for one in demos.episodes] == [0, 1]
    assert [told.exact for told in replay(demos, [0, 1], demos.env).episodes] == [True, True]


def test_a_later_session_goes_on_with_the_next_seeds(small, tmp_path):
    out = tmp_path / "mine-v0"
    sat(
        small, out, {0: "return right", 50: "d"} | {51: "return", 100: "-right k", 101: "q"}, seed=2
    )
    assert [one.seed for one in read_demos(out).episodes] == [20_001]
    session = sat(small, out, KEPT | {51: "q"}, seed=2, resume=True)
    assert [one.seed for one in read_demos(out).episodes] == [20_001, 20_002]
    assert (session.kept, session.card.episodes) == (1, 2)


def test_a_complete_set_is_not_gone_on_with(small, tmp_path):
    out = tmp_path / "mine-v0"
    session = sat(small, out, KEPT, episodes=1)  # ends by itself
    assert session.card.asked == session.card.episodes == 1
    with pytest.raises(RobolearnError, match="Ask for more with --episodes"):
        sat(small, out, {0: "q"}, episodes=1, resume=True)


def test_a_set_that_is_there_is_left_alone(small, tmp_path):
    out = tmp_path / "mine-v0"
    sat(small, out, KEPT | {51: "q"})
    before = find_set(out).card
    with pytest.raises(RobolearnError, match="add --resume"):
        sat(small, out, KEPT)
    with pytest.raises(RobolearnError, match="seed is 0, expected 1"):
        sat(small, out, KEPT, seed=1, resume=True)
    assert find_set(out).card == before


def test_a_session_without_an_episode_kept_writes_nothing(small, tmp_path):
    session = sat(small, tmp_path / "mine-v0", {0: "return right", 60: "q"})
    assert (session.card, session.kept) == (None, 0)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_keeps_what_was_kept_and_nothing_half_written(small, tmp_path):
    out = tmp_path / "mine-v0"
    interrupt = {55: lambda: os.kill(os.getpid(), signal.SIGINT)}
    session = sat(small, out, KEPT | {51: "return right"}, act=interrupt)
    assert session.kept == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine-v0"]
    assert len(read_demos(out).episodes) == 1


def press_until_done(done):
    """Press Enter and K in turn from another thread, with the right arrow held, as people do."""
    while not done.is_set():
        if pygame.display.get_init() and pygame.display.get_surface():
            with contextlib.suppress(pygame.error):  # the window closed just now
                for name in ("right", "return", "k"):
                    pygame.event.post(key(name))
        time.sleep(0.05)


def test_the_command_records_in_a_window(no_screen, tmp_path, capsys):
    out, done = tmp_path / "mine", threading.Event()
    person = threading.Thread(target=press_until_done, args=(done,))
    person.start()
    options = ("--env", BALANCE, "--out", str(out), "--episodes", "2", "--size", "64x48", "--json")
    try:
        assert main(["demos", "record", "--human", *options]) == 0
    finally:
        done.set()
        person.join()
    told = json.loads(capsys.readouterr().out)
    assert (told["kept"], told["episodes"]) == (2, 2)
    demos = read_demos(tmp_path / "mine-v0")
    assert told["demos"] == str(tmp_path / "mine-v0")
    assert [one.seed for one in demos.episodes] == [0, 1]
    assert all((one.action == 1).all() for one in demos.episodes)
    assert not pygame.display.get_init()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--env", "CartPole-v1"), "Only robolearn environments can be steered"),
        (("--env", BALANCE, "--size", "7"), "size must be two even numbers"),
        (("--env", "robolearn/NavLidar-v0", "--curriculum"), "--level"),
    ],
)
def test_the_command_refuses_what_cannot_be_in_one_line(tmp_path, capsys, options, complaint):
    out = ("--out", str(tmp_path / "mine"))
    assert main(["demos", "record", "--human", *options, *out]) == 2
    said = capsys.readouterr()
    assert complaint in said.err
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_without_a_screen_the_command_gives_one_line_of_advice(tmp_path):
    seen = {k: v for k, v in os.environ.items() if k not in SCREENS}
    command = [sys.executable, "-m", "robolearn", "demos", "record", "--human"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "mine")],
        env=seen,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("robolearn: There is no screen to play on")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
