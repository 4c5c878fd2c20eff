"""The browser of this package's tests."""

from tests.support.browser import chromium  # noqa: F401
