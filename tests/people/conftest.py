"""The catalog that the tests of this package ask about, and their browser."""

from tests.support.browser import chromium  # noqa: F401
from tests.support.people import asked, asked_folder  # noqa: F401
