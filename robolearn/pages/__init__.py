"""Web pages that open without a network."""

from robolearn.pages.page import data_uri, render_page, svg

__all__ = ["data_uri", "render_page", "svg"]
