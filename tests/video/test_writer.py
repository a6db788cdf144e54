from pathlib import Path

import numpy as np
import pytest
from playback import frames, number_of_frames, properties

from robolearn.video import RecordingError, VideoWriter

WIDTH, HEIGHT = 64, 48


def gray(level: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), level, dtype=np.uint8)


def write(path: Path, count: int = 3, **options) -> Path:
    with VideoWriter(path, WIDTH, HEIGHT, 20, **options) as video:
        for k in range(count):
            video.add(gray(40 * k))
    return path


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_video_has_the_frames_size_rate_and_encoding_that_every_player_knows(tmp_path):
    path = write(tmp_path / "a.mp4", count=7)
    video = properties(path)
    assert (video.width, video.height, video.fps) == (WIDTH, HEIGHT, 20)
    assert video.seconds == pytest.approx(7 / 20, abs=0.01)
    assert (video.codec, video.pixels) == ("h264", "yuv420p(tv, bt709, progressive)")
    assert number_of_frames(path) == 7


def test_frames_keep_their_order_orientation_and_colors(tmp_path):
    picture = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    picture[:24, :32] = 200, 40, 40  # red in the upper left quarter
    picture[24:, 32:] = 40, 40, 200  # blue in the lower right
    with VideoWriter(tmp_path / "a.mp4", WIDTH, HEIGHT, 20) as video:
        video.add(picture)
        video.add(255 - picture)
    first, second = frames(tmp_path / "a.mp4")
    # Lossy, with color at half resolution: exact only to some levels, away from the edges.
    assert np.abs(first[8:16, 8:24] - [200, 40, 40]).max() <= 12
    assert np.abs(first[32:40, 40:56] - [40, 40, 200]).max() <= 12
    assert first[32:40, 8:24].max() <= 12
    assert second[32:40, 8:24].min() >= 243


def test_a_video_starts_with_its_index_so_that_it_plays_while_it_loads(tmp_path):
    content = write(tmp_path / "a.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_the_comment_is_in_the_file(tmp_path):
    path = write(tmp_path / "a.mp4", comment="robolearn record runs/x = 1; mujoco 3.17")
    assert properties(path).comment == "robolearn record runs/x = 1; mujoco 3.17"


def test_only_the_video_is_left_in_the_folder(tmp_path):
    write(tmp_path / "new" / "folder" / "a.mp4")
    assert names(tmp_path / "new" / "folder") == ["a.mp4"]


def test_until_it_is_finished_the_video_has_another_name(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", WIDTH, HEIGHT, 20) as video:
        video.add(gray(0))
        assert "a.mp4" not in names(tmp_path)
    assert names(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_exception_leaves_no_litter_and_the_old_video_untouched(tmp_path, error):
    old = write(tmp_path / "a.mp4").read_bytes()

    def interrupted():
        with VideoWriter(tmp_path / "a.mp4", WIDTH, HEIGHT, 20, overwrite=True) as video:
            video.add(gray(0))
            raise error

    with pytest.raises(error):
        interrupted()
    assert names(tmp_path) == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == old


def test_an_existing_video_is_not_replaced_unless_asked(tmp_path):
    path = write(tmp_path / "a.mp4", count=2)
    with pytest.raises(FileExistsError, match=r"a\.mp4 exists; choose another --out or pass"):
        write(path, count=5)
    assert number_of_frames(path) == 2
    write(path, count=5, overwrite=True)
    assert number_of_frames(path) == 5


@pytest.mark.parametrize(("size", "better"), [((63, 48), "64 x 48"), ((64, 47), "64 x 48")])
def test_an_odd_size_is_refused_with_the_nearest_even_one(tmp_path, size, better):
    with pytest.raises(ValueError, match=f"even width and height.* Render {better}"):
        VideoWriter(tmp_path / "a.mp4", *size, 20)


def test_a_rate_below_one_frame_per_second_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 1 frame per second, got 0"):
        VideoWriter(tmp_path / "a.mp4", WIDTH, HEIGHT, 0)


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.webm, .* files, got '.*a\.avi'"):
        VideoWriter(tmp_path / "a.avi", WIDTH, HEIGHT, 20)
    with pytest.raises(ValueError, match=r"a\.png' is no video"):
        VideoWriter(tmp_path / "a.png", WIDTH, HEIGHT, 20)


def test_a_folder_that_cannot_be_made_is_said_before_anything_else(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Cannot write to the folder of .*; choose another --out"):
        VideoWriter(tmp_path / "file" / "a.mp4", WIDTH, HEIGHT, 20)


@pytest.mark.parametrize(
    "frame", [np.zeros((HEIGHT, WIDTH, 4), np.uint8), np.zeros((HEIGHT, WIDTH, 3), np.float32)]
)
def test_a_frame_of_another_shape_or_type_is_refused(tmp_path, frame):
    with (
        pytest.raises(ValueError, match=r"uint8 of shape \(48, 64, 3\), got"),
        VideoWriter(tmp_path / "a.mp4", WIDTH, HEIGHT, 20) as video,
    ):
        video.add(frame)


def test_a_video_without_frames_is_an_error_and_no_file(tmp_path):
    with (
        pytest.raises(RecordingError, match="no frames"),
        VideoWriter(tmp_path / "a.mp4", WIDTH, HEIGHT, 20),
    ):
        pass
    assert names(tmp_path) == []


def test_when_ffmpeg_fails_its_last_line_is_told(tmp_path):
    folder = tmp_path / "folder"

    def into_the_void():
        with VideoWriter(folder / "a.mp4", WIDTH, HEIGHT, 20) as video:
            folder.rmdir()  # ffmpeg makes its file when the first frames have come
            for _ in range(1000):
                video.add(gray(0))

    with pytest.raises(RecordingError, match=r"could not write .*a\.mp4: .*No such file"):
        into_the_void()


def test_a_name_that_looks_like_an_address_is_a_file_all_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("run:7.mp4"))
    assert names(tmp_path) == ["run:7.mp4"]


@pytest.mark.parametrize("fps", [17, 30, 60])
def test_at_any_rate_no_frame_is_lost_doubled_or_out_of_place(tmp_path, fps):
    with VideoWriter(tmp_path / "a.mp4", WIDTH, HEIGHT, fps) as video:
        for k in range(2 * fps):
            video.add(gray(k))
    # Matroska, the file's first form, counts in milliseconds: 1 ms in 2 s is one part in 2000.
    assert properties(tmp_path / "a.mp4").fps == pytest.approx(fps, rel=1 / 1000)
    assert properties(tmp_path / "a.mp4").seconds == pytest.approx(2.0, abs=0.011)
    # Frame k is of brightness k, to some levels.
    assert np.abs(frames(tmp_path / "a.mp4").mean(axis=(1, 2, 3)) - np.arange(2 * fps)).max() < 2
