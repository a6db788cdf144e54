"""The limit of memory that `make test` and `make test-all` set to their processes."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")


@pytest.fixture
def peak_of_one_test(tmp_path):
    """Run a test that passes, under a limit of 1 MB; return exit status and last lines."""
    text = CONFTEST.read_text()
    for old, new in (("MEMORY_LIMIT = 700", "MEMORY_LIMIT = 1"), ("RIES = 300", "RIES = 0")):
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "conftest.py").write_text(text)
    (tmp_path / "test_one.py").write_text("def test_one():\n    pass\n")

    def run(*options):
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert "1 passed" in done.stdout, done.stdout + done.stderr
        return done.returncode, done.stdout

    return run


@pytest.mark.slow
def test_a_process_over_the_limit_fails_the_session_and_is_named(peak_of_one_test):
    code, said = peak_of_one_test("--limit-memory", "-n", "1")
    assert code == 1
    assert "FAILED: gw0 held " in said
    assert " MB, more than 1 MB" in said


def test_without_the_option_the_peak_is_only_printed(peak_of_one_test):
    code, said = peak_of_one_test()
    assert code == 0
    assert "Peak resident memory (limit 1 MB): this process " in said
    assert "FAILED" not in said
