import numpy as np
import pytest

from robolearn.video.montage import side_by_side
from robolearn.video.overlay import draw


def flat(level: int, height: int = 120, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), level, dtype=np.uint8)


def test_panes_stand_side_by_side_under_a_bar():
    picture = side_by_side([flat(50), flat(100), flat(150)], ["a", "b", "c"])
    # Three panes of 160 with two gaps of 4 pixels; a bar of 2 * max(12, 120 // 30) = 24.
    assert picture.shape == (144, 488, 3)
    for pane, level in enumerate((50, 100, 150)):
        left = pane * 164
        assert (picture[24:, left : left + 160] == level).all()


def test_every_label_is_written_above_its_pane():
    picture = side_by_side([flat(50), flat(100)], ["wide label", ""])
    bar = picture[:24].max(axis=2)
    written = np.flatnonzero((bar > 150).any(axis=0))
    assert written.size > 20
    assert written.max() < 160
    # Centred over the first pane, whose middle is column 80.
    assert (written.min() + written.max()) / 2 == pytest.approx(80, abs=3)


def test_even_frames_make_an_even_picture():
    height, width, _ = side_by_side([flat(0, 50, 62)] * 5, list("abcde")).shape
    assert (height % 2, width % 2) == (0, 0)


def test_frames_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        side_by_side([flat(0), flat(0, 60)], ["a", "b"])


@pytest.mark.parametrize("labels", [[], ["a"], ["a", "b", "c"]])
def test_every_frame_needs_a_label(labels):
    with pytest.raises(ValueError, match="needs a label"):
        side_by_side([flat(0), flat(0)], labels)


def test_a_caption_is_light_on_a_darkened_corner_and_the_rest_is_untouched():
    frame = flat(128, 240, 320)
    kept = frame.copy()
    picture = draw(frame, ["step 1", "return 2"])
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
    moved = draw(frame, ["step 1"], 150)
    np.testing.assert_array_equal(moved[:, :150], frame[:, :150])
    # The same caption on the same picture, 150 pixels to the left.
    np.testing.assert_array_equal(moved[:, 150:], draw(frame[:, 150:], ["step 1"]))


def test_no_lines_leave_the_picture_as_it_is():
    frame = flat(128)
    picture = draw(frame, [])
    np.testing.assert_array_equal(picture, frame)
    assert picture is not frame
