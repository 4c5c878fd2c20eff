"""The browser of this package's tests, and the catalog that they ask people about."""

from tests.support.browser import chromium  # noqa: F401
from tests.support.people import asked, asked_folder  # noqa: F401
