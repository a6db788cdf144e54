"""Fixtures of all tests, and what every test process reports of itself."""

import ctypes
import gc
import importlib.util
import os
import resource
import sys
from pathlib import Path

import pytest

from robolearn_envs.maps.dataset import layout_dataset

MEMORY_LIMIT = 700
"""MB of resident memory that a test process may reach; ``--limit-memory`` enforces it."""

CUDA_LIBRARIES = 300
"""MB that the libraries of torch's CUDA build take on top, shared between processes."""


def memory_limit():
    """Return the limit for the build of torch that is installed, without importing it."""
    torch = importlib.util.find_spec("torch")
    cuda = torch and any(Path(torch.origin).with_name("lib").glob("libtorch_cuda.*"))
    return MEMORY_LIMIT + CUDA_LIBRARIES if cuda else MEMORY_LIMIT


SLOW_FIXTURES = {"browser", "compared"}
"""Fixtures that take longer than `make test` has room for: a browser, and a whole comparison."""


LONGEST = ("test_wheel.py", "test_bench.py")
"""Modules whose tests take a minute and more."""


def pytest_addoption(parser):
    words = f"fail if a test process holds more than {memory_limit()} MB"
    parser.addoption("--limit-memory", action="store_true", help=words)


def pytest_collection_modifyitems(items):
    """Mark tests with slow fixtures as slow; put the longest first, or one process waits for them.

    Tests of a module stay together, and in their order.
    """
    for item in items:
        if SLOW_FIXTURES.intersection(item.fixturenames):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.name not in LONGEST)


def return_freed_memory():
    """Make glibc return freed blocks of more than 1 MB at once, as Bullet's worlds are."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-3, 2**20)  # M_MMAP_THRESHOLD; glibc would else raise it to the largest freed block


@pytest.fixture(scope="module", autouse=True)
def _trimmed_memory():
    """Return a module's memory to the operating system, cached layouts of 40 MB included."""
    yield
    layout_dataset.cache_clear()
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def peak_memory():
    """Return the largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere


def pytest_collection_finish():
    """Leave what was imported and collected out of every later garbage collection."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session):
    """Report a worker's peak memory to the process that collects the reports."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["peak_memory"] = peak_memory()


class PeakMemory:
    """Prints the peak memory of each test process; fails the session where one is over a limit."""

    def __init__(self, *, enforced):
        self.peaks = {}
        self.enforced = enforced

    @property
    def excessive(self):
        over = {name: peak for name, peak in self.peaks.items() if peak > memory_limit()}
        return over if self.enforced else {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        self.peaks[node.gateway.id] = getattr(node, "workeroutput", {}).get("peak_memory", 0.0)

    def pytest_sessionfinish(self, session):
        if not self.peaks:
            self.peaks["this process"] = peak_memory()
        if self.excessive and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        peaks = ", ".join(f"{name} {peak:.0f} MB" for name, peak in sorted(self.peaks.items()))
        terminalreporter.write_line(f"Peak resident memory (limit {memory_limit()} MB): {peaks}")
        for name, peak in sorted(self.excessive.items()):
            terminalreporter.write_line(
                f"FAILED: {name} held {peak:.0f} MB, more than {memory_limit()} MB", red=True
            )


def pytest_configure(config):
    # One thread for each test process, and for those it starts: as many processes as cores run at
    # once, and their threads would wait for each other. PyTorch, not imported yet, reads it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return_freed_memory()
    if not hasattr(config, "workerinput"):
        enforced = config.getoption("limit_memory")
        config.pluginmanager.register(PeakMemory(enforced=enforced))


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    browsing = pytest.importorskip("browsing", reason="selenium is not installed")
    why = browsing.missing()
    if why is not None:
        pytest.skip(why)
    with browsing.chromium() as driver:
        yield driver


@pytest.fixture
def open_page(browser):
    """Open a page: of its path, and the window's width in pixels, 1200 without it."""
    from browsing import show

    return lambda path, width=1200: show(browser, path, width)
