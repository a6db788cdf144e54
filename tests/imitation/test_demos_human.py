"""Demonstrations by hand: what keys mean, by themselves and in a real window nobody sees."""

import subprocess
import sys

import numpy as np
import pygame
import pytest
from person import Person, key

from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.imitation.demos.episodes import Demonstrations
from robolearn.imitation.demos.human import (
    Arrow,
    Order,
    Phase,
    Press,
    Steering,
    Tape,
    play,
    pressed,
    simulation,
    status,
)
from robolearn.imitation.demos.human_window import HumanWindow
from robolearn.imitation.demos.lint import lint
from robolearn.imitation.demos.replay import replay

BALANCE = "robolearn/CartPoleBalance-v0"
SCREENS = ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY")
LEFT, RIGHT, UP, DOWN = Arrow.LEFT, Arrow.RIGHT, Arrow.UP, Arrow.DOWN


@pytest.mark.parametrize(
    ("phase", "press", "then", "order"),
    [
        (Phase.READY, Press.START, Phase.PLAYING, Order.NOTHING),
        (Phase.PLAYING, Press.PAUSE, Phase.PAUSED, Order.NOTHING),
        (Phase.PAUSED, Press.PAUSE, Phase.PLAYING, Order.NOTHING),
        (Phase.PAUSED, Press.START, Phase.PLAYING, Order.NOTHING),
        (Phase.OVER, Press.KEEP, Phase.READY, Order.KEEP),
        (Phase.OVER, Press.DISCARD, Phase.READY, Order.NEXT),
        (Phase.OVER, Press.REDO, Phase.READY, Order.AGAIN),
        (Phase.PLAYING, Press.DISCARD, Phase.READY, Order.NEXT),
        (Phase.PLAYING, Press.REDO, Phase.READY, Order.AGAIN),
        (Phase.PAUSED, Press.DISCARD, Phase.READY, Order.NEXT),
        (Phase.PAUSED, Press.REDO, Phase.READY, Order.AGAIN),
    ],
)
def test_a_key_leads_on(phase, press, then, order):
    assert pressed(phase, press) == (then, order)


@pytest.mark.parametrize(
    ("phase", "press"),
    [
        *((Phase.READY, press) for press in Press if press not in (Press.START, Press.QUIT)),
        (Phase.PLAYING, Press.START),
        (Phase.PLAYING, Press.KEEP),
        (Phase.PAUSED, Press.KEEP),
        (Phase.OVER, Press.START),
        (Phase.OVER, Press.PAUSE),
    ],
)
def test_a_key_that_means_nothing_here_does_nothing(phase, press):
    assert pressed(phase, press) == (phase, Order.NOTHING)


@pytest.mark.parametrize("phase", list(Phase))
def test_one_can_always_leave(phase):
    assert pressed(phase, Press.QUIT) == (Phase.LEFT, Order.NOTHING)


def steered(name, *held, **options):
    """Return the actions for arrows that are held, one after the other."""
    env = EnvConfig(id=f"robolearn/{name}", kwargs=options).make()
    steering = Steering(simulation(env))
    actions = [steering.action(arrows) for arrows in held]
    assert all(env.action_space.contains(action) for action in actions)
    env.close()
    return [action.tolist() for action in actions]


def test_arrows_push_a_cart_with_full_force():
    got = steered("CartPoleSwingUp-v0", {LEFT}, {RIGHT}, {LEFT, RIGHT}, (), {UP})
    assert got == [[-1.0], [1.0], [0.0], [0.0], [0.0]]


def test_arrows_choose_the_outermost_of_eleven_forces_and_none_the_middle():
    # Forces 0..10 from full left to full right; the middle one, 5, is none at all.
    got = steered(
        "CartPoleSwingUp-v0", {RIGHT}, (), {LEFT}, (), action="discrete", num_discrete_actions=11
    )
    assert got == [10, 5, 0, 5]


def test_arrows_choose_among_five_forces():
    got = steered("CartPoleSwingUp-v0", {LEFT}, (), {RIGHT}, action="discrete")
    assert got == [0, 2, 4]


def test_of_two_forces_the_last_goes_on_when_no_arrow_is_held():
    got = steered("CartPoleBalance-v0", {LEFT}, (), {RIGHT}, (), {LEFT, RIGHT})
    assert got == [0, 0, 1, 1, 1]


def test_arrows_drive_and_turn_a_disc():
    # Commands are parts of 1 m/s forwards and of 2 rad/s to the left.
    got = steered("NavLidar-v0", {UP}, {DOWN}, {LEFT}, {RIGHT}, {UP, LEFT}, {UP, DOWN})
    np.testing.assert_allclose(got, [[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [0, 0]])


def test_arrows_drive_and_turn_a_rover():
    # Commands are the wheels', left and right: ahead both turn alike, on the spot against
    # each other, and in a curve to the left the right one is the faster.
    ahead, back, turn, curve = steered("NavRover-v0", {UP}, {DOWN}, {LEFT}, {UP, LEFT})
    assert ahead == [1.0, 1.0]
    assert back == [-1.0, -1.0]
    assert turn[0] == -turn[1] < 0
    assert curve[0] < curve[1] == 1.0


def test_only_our_environments_are_steered():
    env = EnvConfig(id="CartPole-v1").make()
    with pytest.raises(ValueError, match=r"Only robolearn environments .* got CartPole-v1"):
        simulation(env)
    env.close()


def test_the_person_is_told_where_they_are():
    env = EnvConfig(id=BALANCE).make()
    tape = Tape(env, 4)
    assert status(tape, Phase.READY, 0) == [
        "episode 4   step 0   return 0.0   kept 0",
        "Enter start   arrows steer   Q quit",
    ]
    tape.step(np.array(1))
    tape.step(np.array(0))
    told, keys = status(tape, Phase.PAUSED, 2)
    assert told == "episode 4   step 2   return 2.0   kept 2"
    assert keys.startswith("paused:   Enter go on")
    while not tape.over:
        tape.step(np.array(1))
    assert status(tape, Phase.OVER, 2)[1].startswith("no success:   K keep   D discard")
    env.close()


# In a window that nobody sees: real pygame, real events.


@pytest.fixture
def no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


@pytest.fixture
def window(no_screen):
    window = HumanWindow(640, 480, fps=1000)
    pygame.event.clear()
    yield window
    window.close()
    window.close()


def test_the_window_shows_frame_and_words(window):
    frame = np.full((480, 640, 3), (200, 100, 50), dtype=np.uint8)
    window.show(frame, ["words"])
    shown = pygame.display.get_surface()
    assert shown.get_at((600, 400))[:3] == (200, 100, 50)
    assert shown.get_at((20, 20))[:3] != (200, 100, 50)  # the shade behind the words


def test_keys_that_are_pressed_are_told_in_order_and_once(window):
    for name in ("return", "p", "space", "k", "d", "r", "escape", "x"):
        pygame.event.post(key(name))
        pygame.event.post(key(name, down=False))
    start, quit_ = Press.START, Press.QUIT
    expected = [start, Press.PAUSE, start, Press.KEEP, Press.DISCARD, Press.REDO, quit_]
    assert window.presses() == expected
    assert window.presses() == []


def test_closing_the_window_leaves(window):
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert window.presses() == [Press.QUIT]


def test_arrows_are_held_until_they_are_released(window):
    pygame.event.post(key("left"))
    pygame.event.post(key("up"))
    window.presses()
    assert window.held == {LEFT, UP}
    pygame.event.post(key("left", down=False))
    window.presses()
    assert window.held == {UP}


def test_a_tap_between_two_frames_counts_for_one(window):
    pygame.event.post(key("right"))
    pygame.event.post(key("right", down=False))
    window.presses()
    assert window.held == {RIGHT}
    window.presses()
    assert window.held == set()


def test_arrows_are_released_when_the_window_is_left(window):
    pygame.event.post(key("left"))
    window.presses()
    pygame.event.post(pygame.event.Event(pygame.WINDOWFOCUSLOST))
    window.presses()
    assert window.held == set()


def test_the_window_keeps_the_pace(no_screen):
    window = HumanWindow(64, 48, fps=50)
    frame = np.zeros((48, 64, 3), dtype=np.uint8)
    window.show(frame, [])
    start = pygame.time.get_ticks()
    for _ in range(5):
        window.show(frame, [])
    # Five frames at 50 per second last 100 ms; the clock counts whole milliseconds.
    assert pygame.time.get_ticks() - start >= 90
    window.close()


def played(window, script, *, seed=5, episodes=None, **options):
    """Return the demonstrations a person kept, and the person."""
    config = EnvConfig(id=BALANCE, kwargs=options)
    env = config.make(render_mode="rgb_array", width=64, height=48)
    person, kept = Person(window, script), []
    count = play(env, person, kept.append, seed=seed, episodes=episodes)
    env.close()
    assert count == len(kept)
    demos = Demonstrations(
        env=config,
        observation_space=env.observation_space,
        action_space=env.action_space,
        episodes=kept,
    )
    return demos, person


@pytest.fixture
def small(no_screen):
    window = HumanWindow(64, 48, fps=1000)
    pygame.event.clear()
    yield window
    window.close()


def test_an_episode_played_and_kept_is_a_demonstration_that_can_be_lived_through(small):
    # Pushed to the right all the time the pole falls over within 40 steps.
    script = {0: "return right", 60: "k", 61: "q"}
    demos, person = played(small, script, action="continuous")
    (one,) = demos.episodes
    assert 5 < len(one) < 40
    assert (one.action == 1.0).all()
    assert one.seed == 5
    assert one.success is False
    assert one.clean_action is None
    assert one.terminated[-1]
    assert not one.truncated.any()
    assert len(one.observation) == len(one.state["qpos"]) == len(one) + 1
    assert [f for f in lint(demos) if f.severity == "error"] == []
    (told,) = replay(demos, [0], demos.env).episodes
    assert told.exact
    assert person.told[-1][0].startswith("episode 6   step 0   return 0.0   kept 1")


def test_what_the_arrows_say_is_what_is_done_step_by_step(small):
    # Frame k is step k: right from the first, none from the third, left from the fifth.
    script = {0: "return right", 2: "-right", 4: "left", 80: "k", 81: "q"}
    demos, _ = played(small, script, action="continuous")
    assert demos.episodes[0].action[:7, 0].tolist() == [1, 1, 0, 0, -1, -1, -1]


def test_nothing_moves_before_the_start_and_while_paused(small):
    script = {10: "return", 13: "p", 33: "p", 36: "q"}
    demos, person = played(small, script)
    assert demos.episodes == []
    steps = [int(lines[0].split("step ")[1].split()[0]) for lines in person.told]
    # Steps are made after frames 10, 11, 12, then after 33, 34, 35.
    assert steps == [0] * 11 + [1, 2] + [3] * 21 + [4, 5, 6]


def test_a_discarded_episode_is_not_kept_and_the_next_seed_follows(small):
    script = {0: "return right", 50: "d", 51: "return", 110: "k", 111: "q"}
    demos, _ = played(small, script)
    assert [one.seed for one in demos.episodes] == [6]


def test_an_episode_begun_again_has_the_same_seed(small):
    script = {0: "return left", 8: "r", 9: "-left right return", 80: "k", 81: "q"}
    demos, _ = played(small, script)
    (one,) = demos.episodes
    assert one.seed == 5
    assert (one.action == 1).all()  # nothing is left of the first eight steps


def test_the_session_ends_with_the_last_episode_asked_for(small):
    script = {0: "return right", 50: "k", 51: "return", 100: "k"}
    demos, person = played(small, script, episodes=2)
    assert [one.seed for one in demos.episodes] == [5, 6]
    assert person.frame == 101


def test_leaving_in_the_middle_keeps_nothing(small):
    demos, _ = played(small, {0: "return", 5: "escape"})
    assert demos.episodes == []


@pytest.mark.parametrize("driver", [None, "nonsense"])
def test_without_a_screen_nothing_stays_open(monkeypatch, driver):
    for name in SCREENS:
        monkeypatch.delenv(name, raising=False)
    if driver is not None:
        monkeypatch.setenv("SDL_VIDEODRIVER", driver)
    with pytest.raises(RobolearnError, match=r"There is no screen to play on .* with one"):
        HumanWindow(64, 48, fps=50)
    assert not pygame.display.get_init()


@pytest.mark.slow
def test_importing_opens_nothing():
    code = "import sys, robolearn.imitation.demos.human_window; sys.exit('pygame' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
