import numpy as np
import pytest

from robolearn.errors import RobolearnError
from robolearn.video.caption import draw_caption
from robolearn.video.grid import FrameGrid
from robolearn.video.overlay import Overlay
from robolearn.video.overlay_data import BarChart, OverlayData


def flat(level: int, height: int = 120, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), level, dtype=np.uint8)


def test_panes_stand_in_rows_each_under_a_bar():
    sheet = FrameGrid(["a", "b", "c"], 2, (120, 160, 3))
    picture = sheet.compose([flat(50), flat(100), flat(150)])
    # Two columns of 160 and two rows of 120 under bars of 22, with gaps of 4 pixels.
    assert picture.shape == sheet.shape == (2 * 142 + 4, 324, 3)
    for pane, level in enumerate((50, 100, 150)):
        top, left = 146 * (pane // 2) + 22, 164 * (pane % 2)
        assert (picture[top : top + 120, left : left + 160] == level).all()
    assert (picture[146:, 164:] < 50).all()  # where there is no fourth


def test_every_label_is_written_above_its_pane():
    picture = FrameGrid(["wide label", ""], 2, (120, 160, 3)).compose([flat(50), flat(100)])
    bar = picture[:22].max(axis=2)
    written = np.flatnonzero((bar > 150).any(axis=0))
    assert written.size > 20
    assert written.max() < 160
    # Centered over the first pane, whose middle is column 80.
    assert (written.min() + written.max()) / 2 == pytest.approx(80, abs=3)


def test_a_label_wider_than_its_pane_is_shortened():
    picture = FrameGrid(["a very long label indeed " * 3, ""], 2, (120, 160, 3)).compose(
        [flat(0)] * 2
    )
    written = np.flatnonzero((picture[:22].max(axis=2) > 150).any(axis=0))
    assert 100 < written.max() < 160


def test_a_pane_alone_has_no_bar():
    assert (FrameGrid([""], 1, (50, 62, 3)).compose([flat(7, 50, 62)]) == 7).all()


def test_even_frames_make_an_even_picture():
    for columns in (2, 3, 5):
        height, width, _ = FrameGrid(list("abcde"), columns, (50, 62, 3)).shape
        assert (height % 2, width % 2) == (0, 0)


def test_frames_of_different_shapes_are_refused():
    with pytest.raises(RobolearnError, match="one size"):
        FrameGrid(["a", "b"], 2, (120, 160, 3)).compose([flat(0), flat(0, 60)])


def reading(**changes) -> OverlayData:
    told = {
        "step": 7,
        "episode_return": 1.5,
        "backend": "mujoco",
        "value": None,
        "chart": None,
        "end_reason": "",
    }
    return OverlayData(**{**told, **changes})


def drawn(told: OverlayData, height: int = 480, left: int = 0) -> np.ndarray:
    """Return where a panel changes a gray frame of four by three. Shape (height, width), bool."""
    frame = flat(200, height, height * 4 // 3)
    picture = Overlay(height, left).draw(frame, told)
    assert (frame == 200).all()  # the frame itself is left as it is
    return (picture != 200).any(axis=2)


def test_the_panel_stays_in_its_corner():
    changed = drawn(reading(value=3.0))
    # Letters of 13 pixels: 14.5 of them wide after a margin of 8; four lines of 18 and two of 8.
    rows, columns = np.nonzero(changed)
    assert (rows.min(), columns.min()) == (8, 8)
    assert (rows.max() + 1, columns.max() + 1) == (8 + 88, 8 + 188)


def test_the_panel_can_begin_further_right():
    assert not drawn(reading(), left=300)[:, :300].any()


@pytest.mark.parametrize(("height", "share"), [(240, 0.1), (100, 0.0)])
def test_small_panes_show_less(height, share):
    assert 0 <= drawn(reading(), height).mean() <= share
    assert drawn(reading(), height).any() == bool(share)


def test_the_end_is_shown_at_the_bottom_even_in_small_panes():
    for height in (480, 100):
        changed = drawn(reading(end_reason="success"), height)
        assert changed[height * 3 // 4 :].any()


@pytest.mark.parametrize("shape", [(20, 20), (28, 40), (600, 150), (480, 30)])
@pytest.mark.parametrize("left", [0, 500])
def test_an_overlay_without_room_is_left_out(shape, left):
    told = reading(value=3.0, end_reason="success")
    assert (Overlay(shape[0], left).draw(flat(200, *shape), told) == 200).all()


def test_a_signed_bar_grows_from_its_middle_and_the_chosen_one_is_highlighted():
    def pixels(kind, lengths, chosen, color):
        bars = BarChart(kind, [""] * len(lengths), np.array(lengths), [""] * len(lengths), chosen)
        picture = Overlay(480, 0).draw(flat(200, 480, 640), reading(chart=bars))
        return np.nonzero((picture == color).all(axis=2))

    blue, orange = (92, 158, 235), (255, 176, 66)
    _, right = pixels("signed", [1.0], None, blue)
    _, left = pixels("signed", [-0.5], None, blue)
    assert left.max() <= right.min() + 2
    # Half as long, but for the mark in the middle.
    assert np.ptp(left) == pytest.approx(np.ptp(right) / 2, abs=3)
    rows, long = pixels("Q", [0.2, 0.8], 1, orange)
    other, short = pixels("Q", [0.2, 0.8], 1, blue)
    assert other.max() < rows.min()  # the second one is below
    assert np.ptp(short) == pytest.approx(np.ptp(long) / 4, abs=2)


def test_a_caption_is_light_on_a_darkened_corner_and_the_rest_is_untouched():
    frame = flat(128, 240, 320)
    kept = frame.copy()
    picture = draw_caption(frame, ["step 1", "return 2"])
    np.testing.assert_array_equal(frame, kept)
    changed = (picture != frame).any(axis=2)
    # Two lines of 12 pixels with margins stay in the upper left 60 x 160 pixels.
    assert changed[:60, :160].any()
    assert not changed[60:].any()
    assert not changed[:, 160:].any()
    # The box is translucent: 128 seen through (18, 24, 33) at 165 / 255 is 57..66.
    assert (picture[changed].max(), picture[changed].min()) == (255, pytest.approx(57, abs=2))


def test_a_caption_can_begin_further_right():
    frame = np.random.default_rng(0).integers(256, size=(120, 320, 3), dtype=np.uint8)
    moved = draw_caption(frame, ["step 1"], 150)
    np.testing.assert_array_equal(moved[:, :150], frame[:, :150])
    # The same caption on the same picture, 150 pixels to the left.
    np.testing.assert_array_equal(moved[:, 150:], draw_caption(frame[:, 150:], ["step 1"]))


def test_no_lines_leave_the_picture_as_it_is():
    frame = flat(128)
    picture = draw_caption(frame, [])
    np.testing.assert_array_equal(picture, frame)
    assert picture is not frame
