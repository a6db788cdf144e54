"""Metrics are one JSON object a line, readable while the run goes on."""

import json

from robolearn.runs.metrics import MetricsLog


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_each_report_is_a_line_at_once(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write(10, {"loss": 0.5})
        assert lines(tmp_path) == [{"steps": 10, "loss": 0.5}]
        log.write(20, {"loss": 0.25, "return": 3.0})
    assert lines(tmp_path)[1] == {"steps": 20, "loss": 0.25, "return": 3.0}


def test_figures_nobody_knows_yet_are_left_out(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write(10, {"loss": 0.5, "return": None})
    assert lines(tmp_path) == [{"steps": 10, "loss": 0.5}]


def test_tensorboard_gets_them_too(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write(10, {"loss": 0.5})
    assert [path.name[:6] for path in (tmp_path / "tb").iterdir()] == ["events"]


def test_an_older_log_is_continued(tmp_path):
    for steps in (10, 20):
        with MetricsLog(tmp_path) as log:
            log.write(steps, {})
    assert lines(tmp_path) == [{"steps": 10}, {"steps": 20}]
