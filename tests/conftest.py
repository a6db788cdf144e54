"""Fixtures of all tests, and what every test process reports of itself."""

import ctypes
import gc
import resource
import sys

import pytest

from robolearn_envs.arenas.bank import bank

MEMORY_LIMIT = 700
"""MB of resident memory that a test process may reach."""


SLOW_FIXTURES = {"browser", "compared"}
"""Fixtures that take longer than `make test` has room for: a browser, and a whole comparison."""


def pytest_collection_modifyitems(items):
    """Mark tests with slow fixtures as slow."""
    for item in items:
        if SLOW_FIXTURES.intersection(item.fixturenames):
            item.add_marker(pytest.mark.slow)


def return_freed_memory():
    """Make glibc return freed blocks of more than 1 MB at once, as Bullet's worlds are."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-3, 2**20)  # M_MMAP_THRESHOLD; glibc would else raise it to the largest freed block


@pytest.fixture(scope="module", autouse=True)
def _trimmed_memory():
    """Return a module's memory to the operating system, cached layouts of 40 MB included."""
    yield
    bank.cache_clear()
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
    """Prints the peak memory of each test process."""

    def __init__(self):
        self.peaks = {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        self.peaks[node.gateway.id] = getattr(node, "workeroutput", {}).get("peak_memory", 0.0)

    def pytest_sessionfinish(self, session):
        if not self.peaks:
            self.peaks["this process"] = peak_memory()

    def pytest_terminal_summary(self, terminalreporter):
        peaks = ", ".join(f"{name} {peak:.0f} MB" for name, peak in sorted(self.peaks.items()))
        terminalreporter.write_line(f"Peak resident memory (limit {MEMORY_LIMIT} MB): {peaks}")


def pytest_configure(config):
    return_freed_memory()
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(PeakMemory())


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
