"""The gallery: what it finds in a folder of runs, and that nothing in there can break the page."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from browsing import PHONE, column, console_errors, make_video, plays, sideways, sort_by
from markupsafe import escape
from selenium.webdriver.common.by import By

from robolearn.cli import main
from robolearn.environments import EnvConfig
from robolearn.pages.gallery import corners
from robolearn.pages.page import render_page
from robolearn.pages.runs import Point, read_run
from robolearn.pages.writing import is_ours, write_page
from robolearn.runs.run import RunFolder
from robolearn.session import TrainConfig
from robolearn.train import train

BALANCE = "robolearn/CartPoleBalance-v0"
SCRIPT = "\"'><script>alert(1)</script>"
FINAL = {"steps": 90, "mean_return": 12.5, "std_return": 1.5, "success_rate": 0.25}
CURVE = (
    {"steps": 40, "eval/mean_reward": 3.0},
    {"steps": 64, "train/loss": 1.0},
    {"steps": 80, "eval/mean_reward": 9.0},
)


def make_run(path, *, started="2026-01-02T03:04:05+00:00", curve=CURVE, final=FINAL, **changes):
    """Make a run as training does, but for the training."""
    env = EnvConfig(id=BALANCE, kwargs={"domain_randomization": 0.1})
    run = RunFolder.create(path, TrainConfig(agent="ppo", env=env, steps=90, run=path, seed=7))
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps({**meta, "started": started, **changes}))
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curve))
    if final is not None:
        run.write_evaluation(final)
    return path


def gallery(folder, capsys, *options):
    """Write a folder's gallery and return the page and what was found."""
    assert main(("gallery", str(folder), "--json", *options)) == 0
    found = json.loads(capsys.readouterr().out)
    return Path(found["page"]).read_text(), found


def refused(folder, capsys, *options):
    assert main(("gallery", str(folder), *options)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a real, tiny training."""
    path = tmp_path_factory.mktemp("trained") / "run"
    few = {"num_envs": 4, "n_steps": 32, "batch_size": 64, "hidden_sizes": (8,)}
    env = EnvConfig(id=BALANCE, engine="analytic")
    train(
        TrainConfig(
            agent="ppo", env=env, steps=512, run=path, hyper=few, eval_episodes=2, test_episodes=5
        )
    )
    return path


def test_a_trained_run_is_told_of_as_it_was(trained, tmp_path, capsys):
    page, found = gallery(trained.parent, capsys, "--out", str(tmp_path / "runs.html"))
    (run,) = found["runs"]
    final = json.loads((trained / "eval.json").read_text())
    assert run["run"] == str(trained)
    assert (run["agent"], run["env"], run["engine"], run["seed"]) == ("ppo", BALANCE, "analytic", 0)
    assert (run["steps"], run["return"]) == (final["steps"], final["mean_return"])
    assert run["success"] == final["success_rate"]
    assert run["evaluations"] > 1
    assert run["problems"] == []
    assert is_ours(tmp_path / "runs.html")
    assert f"<strong>{final['mean_return']:,.1f}</strong>" in page
    assert "<polyline" in page


def test_a_card_tells_what_the_folder_does(tmp_path, capsys):
    run = make_run(tmp_path / "deep" / "er", command="robolearn train", versions={"torch": "9.8"})
    assert read_run(run).curve == (Point(40, 3.0), Point(80, 9.0))
    page, found = gallery(tmp_path, capsys)
    assert found["page"] == str(tmp_path / "index.html")
    assert found["runs"][0]["engine"] == "mujoco"  # by default
    for shown in ("deep/er", "12.5", "± 1.5", "25 %", "2026-01-02", "robolearn train", "9.8"):
        assert shown in page, shown
    assert "domain_randomization = 0.1" in page


def test_runs_are_sorted_newest_first_and_last_those_without_a_date(tmp_path, capsys):
    make_run(tmp_path / "a", started="2026-01-02T12:00:00+00:00")
    make_run(tmp_path / "b", started="2026-01-02T12:30:00+01:00")  # 11:30 UTC
    make_run(tmp_path / "c", started="once")
    make_run(tmp_path / "d", started="2026-01-03T00:00:00+00:00")
    _, found = gallery(tmp_path, capsys)
    assert [Path(run["run"]).name for run in found["runs"]] == ["d", "a", "b", "c"]
    assert found["runs"][-1]["problems"] == ["meta.json: started must be a date, got 'once'."]


def test_a_run_that_has_not_ended_is_listed_as_such(tmp_path, capsys):
    make_run(tmp_path / "run", final=None)
    page, found = gallery(tmp_path, capsys)
    assert (found["runs"][0]["evaluated"], found["runs"][0]["steps"]) == (False, 80)
    assert "no evaluation yet" in page
    assert "80 of 90" in page


def test_a_line_of_the_log_still_being_written_is_no_damage(tmp_path):
    run = make_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"steps": 90, "eval_ret')
    assert read_run(run).problems == ()
    assert len(read_run(run).curve) == 2


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("config.yaml", "{", "config.yaml is no YAML"),
        ("config.yaml", "agent: [1]\nenv: {id: 5}", "config.yaml: agent must be text, got [1]."),
        ("config.yaml", "agent: ppo\nenv: 5", "config.yaml: env must be a mapping, got 5."),
        (
            "config.yaml",
            "agent: ppo\nseed: true",
            "config.yaml: seed must be an integer, got True.",
        ),
        ("meta.json", "{", "meta.json is damaged"),
        ("meta.json", '{"started": "0001-01-01T00:00:00+20:00"}', "started must be a date"),
        ("eval.json", "[]", "eval.json must hold a JSON object"),
        ("eval.json", '{"mean_return": "x"}', "eval.json: mean_return must be a number, got 'x'."),
        ("eval.json", f'{{"mean_return": 1{"0" * 400}}}', "mean_return must be a number"),
        ("metrics.jsonl", '"eval/mean_reward"\n', "metrics.jsonl: line 1 cannot be read."),
        ("metrics.jsonl", '{"steps": 1, "eval/mean_reward": NaN}\n' * 2, "line 1 and 1 others"),
        ("metrics.jsonl", f'{{"eval/mean_reward": {"[" * 10**5}\n', "line 1 cannot be read"),
    ],
)
def test_damage_is_a_line_on_the_card_and_the_page_is_made(
    name, content, problem, tmp_path, capsys
):
    run = make_run(tmp_path / "run")
    (run / name).write_text(content)
    page, found = gallery(tmp_path, capsys)
    assert any(problem in each for each in found["runs"][0]["problems"])
    assert str(escape(problem)) in page
    assert str(tmp_path) not in page


def test_numbers_that_are_not_finite_are_shown_and_sorted_last(tmp_path, capsys, open_page):
    make_run(tmp_path / "nan", final={"mean_return": float("nan")})
    make_run(tmp_path / "inf", final={"mean_return": float("-inf")})
    make_run(tmp_path / "large", final={"mean_return": -1e300})
    _, found = gallery(tmp_path, capsys)
    assert [run["return"] for run in found["runs"]] == [None, -1e300, None]
    driver = open_page(tmp_path / "index.html")
    table = driver.find_element(By.CSS_SELECTOR, "table")
    assert sort_by(driver, table, "return") == ["-inf", "-1e+300", "nan"]


def test_the_newest_finished_video_is_linked_as_seen_from_the_page(tmp_path, capsys):
    run = make_run(tmp_path / "runs" / "a b" / "#1")
    (run / "videos").mkdir()
    for age, name in enumerate(("videos/new?.mp4", "film.webm", "videos/old.mp4")):
        (run / name).touch()
        os.utime(run / name, (1000 - age, 1000 - age))
    (run / "videos" / "x.part.mp4").touch()
    page, _ = gallery(tmp_path / "runs", capsys)
    assert 'src="a%20b/%231/videos/new%3F.mp4#t' in page
    (tmp_path / "pages").mkdir()
    page, _ = gallery(tmp_path / "runs", capsys, "--out", str(tmp_path / "pages" / "x.html"))
    assert 'src="../runs/a%20b/%231/videos/new%3F.mp4#t' in page


def test_links_are_followed_neither_to_runs_nor_to_files_nor_to_videos(tmp_path, capsys):
    secret = make_run(tmp_path / "elsewhere" / "secret", command="secret command")
    (secret / "film.mp4").touch()
    run = make_run(tmp_path / "runs" / "mine")
    (tmp_path / "runs" / "other").symlink_to(secret)
    (run / "meta.json").unlink()
    (run / "meta.json").symlink_to(secret / "meta.json")
    (run / "film.mp4").symlink_to(secret / "film.mp4")
    (run / "videos").symlink_to(secret)
    (tmp_path / "runs" / "report.html").symlink_to(secret / "config.yaml")
    page, found = gallery(tmp_path / "runs", capsys)
    (told,) = found["runs"]
    assert told["video"] is None
    assert "symbolic link" in told["problems"][0]
    assert "secret" not in page


def test_what_is_no_run_of_ours_is_left_out(tmp_path, capsys):
    make_run(tmp_path / "run")
    (tmp_path / "hydra").mkdir()
    (tmp_path / "hydra" / "config.yaml").write_text("agent: ppo")
    make_run(tmp_path / ".hidden")
    _, found = gallery(tmp_path, capsys)
    assert len(found["runs"]) == 1


def test_reports_of_ours_are_linked_by_their_titles(tmp_path, capsys):
    make_run(tmp_path / "run")
    (tmp_path / "compared: a&b").mkdir()
    ours = render_page("base.html.jinja").replace("<title>", "<title>A &amp; B")
    (tmp_path / "compared: a&b" / "report.html").write_text(ours)
    (tmp_path / "theirs.html").write_text("<title>Theirs</title>")
    for _ in range(2):  # the second time there is a gallery already, which is no report
        page, found = gallery(tmp_path, capsys)
        assert [report["title"] for report in found["reports"]] == ["A & B"]
        assert '<a href="compared%3A%20a%26b/report.html">A &amp; B</a>' in page
        assert "Theirs" not in page


def test_a_folder_without_runs_is_one_clear_line(tmp_path, capsys):
    assert "holds no runs" in refused(tmp_path, capsys)
    assert "No folder" in refused(tmp_path / "none", capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_is_not_ours_is_kept_unless_one_says_so(tmp_path, capsys):
    make_run(tmp_path / "run")
    page = tmp_path / "index.html"
    page.write_text("mine")
    assert "--overwrite" in refused(tmp_path, capsys)
    assert page.read_text() == "mine"
    gallery(tmp_path, capsys, "--overwrite")
    assert is_ours(page)
    page.write_text(page.read_text() + "older")
    assert "older" not in gallery(tmp_path, capsys)[0]


def test_a_page_is_not_written_through_a_link(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    page = tmp_path / "index.html"
    page.symlink_to(tmp_path / "theirs")
    (tmp_path / f".index.html.{os.getpid()}.tmp").symlink_to(tmp_path / "theirs")
    write_page(page, "new", overwrite=True)
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert (page.read_text(), page.is_symlink()) == ("new", False)


def test_a_page_nowhere_is_one_clear_line(tmp_path, capsys):
    make_run(tmp_path / "run")
    assert "Cannot write" in refused(tmp_path, capsys, "--out", str(tmp_path / "no" / "x.html"))
    assert "Cannot write" in refused(tmp_path, capsys, "--out", str(tmp_path))


def test_curves_fill_their_picture():
    # 320 by 96 with an edge of 4: x from 4 to 316, y from 92 for the lowest to 4 for the highest.
    assert (
        corners([Point(0, 1.0), Point(50, 3.0), Point(100, 2.0)]) == "4.0,92.0 160.0,4.0 316.0,48.0"
    )
    assert corners([Point(5, 1.0), Point(10, 1.0)]) == "4.0,48.0 316.0,48.0"
    assert corners([Point(0, -1.7e308), Point(1, 1.7e308)]) == "4.0,92.0 316.0,4.0"
    many = [Point(k, float(k)) for k in range(10_000)]
    assert len(corners(many).split()) <= 201
    assert corners(many).endswith("316.0,4.0")


@pytest.mark.slow
def test_looking_for_runs_imports_no_torch():
    code = "import sys, robolearn.commands.gallery; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def hostile(tmp_path):
    """A folder of runs whose names and files try to get into the page, and a page of them."""
    for name in (
        SCRIPT.replace("/", "_"),
        "javascript:alert(1)",
        "a\nb\u202e",
        "\udcff",
        "x" * 200,
    ):
        run = make_run(tmp_path / name, command=SCRIPT, hardware="\ud800", git="\x00\x1b")
        make_video(run / "videos" / "%2e onerror=alert(1).mp4")
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["agent"], config["pretrained"] = SCRIPT, "</article></main>"
        config["env"]["kwargs"] = {SCRIPT: [SCRIPT] * 50}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def test_hostile_names_and_values_are_text_on_the_page(hostile, capsys, open_page):
    page, _ = gallery(hostile, capsys)
    assert "<script>alert" not in page
    assert 'href="javascript' not in page
    driver = open_page(hostile / "index.html", PHONE)
    assert console_errors(driver) == []
    assert sideways(driver) == 0
    assert len(driver.find_elements(By.CSS_SELECTOR, "main > .cards > article")) == 5
    assert driver.find_elements(By.CSS_SELECTOR, "[onerror]") == []
    for video in driver.find_elements(By.CSS_SELECTOR, "video"):
        assert plays(driver, video), video.get_attribute("src")


@pytest.mark.slow
@pytest.mark.parametrize("width", [PHONE, 1200])
def test_a_gallery_in_a_browser_sorts_plays_and_does_not_complain(
    width, tmp_path, capsys, open_page
):
    for k, steps in enumerate((1_000, 20_000, 300)):
        started = f"2026-01-0{k + 1}T00:00:00+00:00"
        final = {**FINAL, "steps": steps, "mean_return": -steps / 7}
        make_run(tmp_path / f"run{10 - k}", started=started, final=final)
    make_video(tmp_path / "run9" / "videos" / "000020000.mp4")
    gallery(tmp_path, capsys)
    driver = open_page(tmp_path / "index.html", width)
    table = driver.find_element(By.CSS_SELECTOR, "table")
    assert column(table, "run") == ["run8", "run9", "run10"]
    assert sort_by(driver, table, "steps") == ["300", "1,000", "20,000"]
    assert sort_by(driver, table, "return", key=True) == ["-2,857.1", "-142.9", "-42.9"]
    assert sort_by(driver, table, "date") == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert sort_by(driver, table, "run") == ["run8", "run9", "run10"]
    assert plays(driver, driver.find_element(By.CSS_SELECTOR, "video"))
    assert sideways(driver) == 0
    assert console_errors(driver) == []
