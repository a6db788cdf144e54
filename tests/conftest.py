"""Fixtures of all tests: one browser a process, begun when the first test asks for it."""

import pytest


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
