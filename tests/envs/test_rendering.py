import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import gymnasium as gym
import numpy as np
import pygame
import pytest

import robolearn_envs  # noqa: F401 - registers the environments
from robolearn_envs.rendering import RENDERERS, Renderer, Window, egl_error, make_renderer
from robolearn_envs.robots import CartPole, DMControlCartPole

# Of the camera: 7.6 m in front of the rail and 0.6 m above it, fovy 35 degrees. At 640 x 480 a
# pixel at distance d is 2 d tan(17.5 deg) / 480 = 0.001314 d meters; the cart's face is at
# y = -0.1, so d = 7.5 m and a meter is 101.5 pixels there; at the tip (y = -0.13) it is 102.
PIXELS_PER_METER = 101.5
ROUNDING = 1  # of 255: OpenGL in software rounds a few pixels now up, now down


@pytest.fixture(params=RENDERERS)
def renderer(request):
    if request.param == "mujoco-egl" and (problem := egl_error()):
        pytest.skip(problem)
    made = make_renderer(640, 480, prefer=request.param)
    yield made
    made.close()


def where(picture: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Column and row of the middle of the pixels where ``seen``."""
    rows, columns = np.nonzero(seen)
    assert len(rows) > 20, "Nothing of that color in the picture."
    return np.array([columns.mean(), rows.mean()])


def cart(picture: np.ndarray) -> np.ndarray:
    red, _, blue = picture.astype(int).transpose(2, 0, 1)
    return where(picture, blue - red > 100)


def tip(picture: np.ndarray) -> np.ndarray:
    red, green, blue = picture.astype(int).transpose(2, 0, 1)
    return where(picture, (red - green > 80) & (green - blue < 30))


def draw(renderer: Renderer, x: float, theta: float, **fields: float) -> np.ndarray:
    return renderer.render(CartPole(**fields), np.array([x, theta]))


@pytest.mark.slow
def test_a_picture_is_a_new_uint8_array_of_the_asked_size(renderer):
    first = draw(renderer, 0.0, 0.0)
    kept = first.copy()
    second = draw(renderer, 1.0, 2.0)
    assert (first.shape, first.dtype) == ((480, 640, 3), np.uint8)
    assert first is not second
    np.testing.assert_array_equal(first, kept)


@pytest.mark.slow
def test_the_same_state_gives_the_same_picture(renderer):
    first = draw(renderer, 0.3, 0.4)
    draw(renderer, -2.0, 3.0)
    np.testing.assert_allclose(draw(renderer, 0.3, 0.4), first, atol=ROUNDING, rtol=0)


@pytest.mark.slow
def test_renderers_do_not_disturb_each_other(renderer):
    alone = draw(renderer, 0.3, 0.4)
    other = make_renderer(320, 200, prefer=renderer.name)
    small = draw(other, -1.0, 2.0, pole_length=0.6)
    np.testing.assert_allclose(draw(renderer, 0.3, 0.4), alone, atol=ROUNDING, rtol=0)
    np.testing.assert_allclose(
        draw(other, -1.0, 2.0, pole_length=0.6), small, atol=ROUNDING, rtol=0
    )
    other.close()
    np.testing.assert_allclose(draw(renderer, 0.3, 0.4), alone, atol=ROUNDING, rtol=0)
    with ThreadPoolExecutor(1) as pool:
        apart = pool.submit(picture_of_another, renderer.name).result()
    np.testing.assert_allclose(apart, alone, atol=ROUNDING, rtol=0)


def picture_of_another(name):
    made = make_renderer(640, 480, prefer=name)
    try:
        return draw(made, 0.3, 0.4)
    finally:
        made.close()


@pytest.mark.slow
@pytest.mark.parametrize("x", [-2.2, -1.0, 0.5, 2.2])
def test_the_cart_moves_along_the_picture_with_x(renderer, x):
    # The picture's middle is column 319.5, to which the camera has x = 0.
    # At the sides the cart's inner end is seen too, which moves the middle inwards: the end is at
    # x = 2 and 0.2 m deep, 761 * 2 * (1 / 7.5 - 1 / 7.7) = 5.3 pixels wide, so by 2.6 at most.
    assert cart(draw(renderer, x, 0.0))[0] == pytest.approx(319.5 + PIXELS_PER_METER * x, abs=6)


@pytest.mark.slow
def test_the_cart_is_seen_at_both_ends_of_the_rail(renderer):
    # 2.4 m are 2.4 * 101.5 = 244 pixels: columns 76 and 563, with half a cart (20) to spare.
    assert cart(draw(renderer, -2.4, 0.0))[0] == pytest.approx(76, abs=6)
    assert cart(draw(renderer, 2.4, 0.0))[0] == pytest.approx(563, abs=6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("theta", "right", "up"), [(0.0, 0.0, 1.0), (np.pi / 2, 1.0, 0.0), (np.pi, 0.0, -1.0)]
)
def test_the_tip_is_above_the_hinge_at_0_to_the_right_at_90_degrees_below_at_180(
    renderer, theta, right, up
):
    picture = draw(renderer, 0.5, theta)
    seen = (tip(picture) - cart(draw(renderer, 0.5, 0.0))) / PIXELS_PER_METER
    # Up is towards smaller rows. 0.06 m is for the pole's offset in front of the cart.
    np.testing.assert_allclose(seen, [right, -up], atol=0.06)


@pytest.mark.slow
def test_a_longer_pole_is_drawn_longer(renderer):
    # Half a meter more is 0.5 * 102 = 51 pixels more, and nothing else changes.
    long, short = draw(renderer, 0.0, 0.0, pole_length=1.5), draw(renderer, 0.0, 0.0)
    assert tip(short)[1] - tip(long)[1] == pytest.approx(51, abs=3)


@pytest.mark.slow
def test_a_changed_robot_is_drawn_as_by_a_new_renderer(renderer):
    draw(renderer, 0.0, 0.0)
    changed = draw(renderer, 0.7, 1.0, rail_half_length=2.0, pole_length=0.7)
    fresh = make_renderer(640, 480, prefer=renderer.name)
    expected = draw(fresh, 0.7, 1.0, rail_half_length=2.0, pole_length=0.7)
    np.testing.assert_allclose(changed, expected, atol=ROUNDING, rtol=0)
    fresh.close()


def test_closing_one_renderer_leaves_another_intact(renderer):
    first = draw(renderer, 0.3, 0.4)
    other = make_renderer(320, 240, prefer=renderer.name)
    draw(other, 0.0, 0.0)
    other.close()
    other.close()
    np.testing.assert_allclose(draw(renderer, 0.3, 0.4), first, atol=ROUNDING, rtol=0)


@pytest.mark.slow
def test_all_renderers_show_nearly_the_same_picture(renderer):
    reference = make_renderer(640, 480, prefer="software-rays")
    rays = draw(reference, -0.8, 0.6).astype(int)
    difference = np.abs(draw(renderer, -0.8, 0.6) - rays).mean(axis=2)
    # Edges and distant tiles differ; sky, floor and the faces of things must not.
    assert np.mean(difference > 16) < 0.02


def test_the_control_suite_cart_pole_is_drawn_by_every_renderer(renderer):
    picture = renderer.render(DMControlCartPole(), np.array([1.0, 0.0]))
    # Its face is at y = -0.15: 7.45 m away, where a meter is 102 pixels.
    assert cart(picture)[0] == pytest.approx(319.5 + 102, abs=3)


@pytest.mark.parametrize("size", [(0, 480), (640, -1)])
def test_a_size_that_is_not_positive_is_refused(size):
    with pytest.raises(ValueError, match="positive width and height"):
        make_renderer(*size)


def test_an_unknown_renderer_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'mujoco-egl'"):
        make_renderer(64, 48, prefer="mujoco-elg")


@pytest.mark.parametrize("engine", ["mujoco", "bullet", "analytic"])
def test_an_environment_renders_its_state(engine):
    env = gym.make("robolearn/CartPoleBalance-v0", engine=engine, render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    # Balance starts with |x| < 0.05 m: less than 6 pixels from the middle.
    assert cart(frame)[0] == pytest.approx(319.5, abs=8)
    env.close()


HIDE_OPENGL = """
import ctypes, ctypes.util

class Loader(ctypes.CDLL):
    def __init__(self, name, *args, **kwargs):
        if name and "GL" in str(name):
            raise OSError(f"{name}: hidden by the test")
        super().__init__(name, *args, **kwargs)

ctypes.CDLL = Loader
ctypes.cdll = ctypes.LibraryLoader(Loader)
find = ctypes.util.find_library
ctypes.util.find_library = lambda name: None if "GL" in name else find(name)
"""

RENDER = """
import sys
import gymnasium as gym, robolearn_envs
from robolearn_envs.rendering import make_renderer

env = gym.make("robolearn/CartPoleSwingUp-v0", engine=sys.argv[1], render_mode="rgb_array")
env.reset(seed=0)
assert env.render().std() > 10
try:
    make_renderer(64, 48, prefer="mujoco-egl")
except ValueError as error:
    print(env.unwrapped.vector_env.renderer_name, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["mujoco", "analytic", "bullet"])
def test_without_any_opengl_library_there_are_still_pictures(tmp_path, engine):
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(HIDE_OPENGL))
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    child = subprocess.run(
        [sys.executable, "-c", RENDER, engine],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.startswith(
        "software-rays Renderer 'mujoco-egl' is unavailable. EGL does not"
    )
    assert "Error" not in child.stderr


@pytest.mark.slow
def test_a_process_that_never_closes_its_renderer_ends_quietly():
    script = """
import gymnasium as gym, robolearn_envs
env = gym.make("robolearn/CartPoleSwingUp-v0", render_mode="rgb_array")
env.reset(seed=0)
env.render()
"""
    child = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (child.returncode, child.stderr) == (0, "")


@pytest.fixture
def no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def test_the_window_shows_the_frame(no_screen):
    window = Window(64, 48, fps=1000)
    frame = np.zeros((48, 64, 3), dtype=np.uint8)
    frame[10, 20] = 200, 100, 50
    window.show(frame)
    assert pygame.display.get_surface().get_at((20, 10))[:3] == (200, 100, 50)
    window.close()
    window.close()


def test_the_window_keeps_the_pace(no_screen):
    window = Window(64, 48, fps=50)
    frame = np.zeros((48, 64, 3), dtype=np.uint8)
    window.show(frame)
    start = pygame.time.get_ticks()
    for _ in range(5):
        window.show(frame)
    # Five frames at 50 per second last 100 ms; the clock counts whole milliseconds.
    assert pygame.time.get_ticks() - start >= 90
    window.close()


def test_a_window_closed_by_the_user_stays_closed(no_screen):
    window = Window(64, 48, fps=1000)
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    frame = np.zeros((48, 64, 3), dtype=np.uint8)
    window.show(frame)
    window.show(frame)
    assert not pygame.display.get_init()


def test_human_mode_runs_without_a_screen(no_screen):
    env = gym.make("robolearn/CartPoleSwingUp-v0", render_mode="human", width=64, height=48)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    assert env.render() is None
    env.close()
