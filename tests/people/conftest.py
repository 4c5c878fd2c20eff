"""The catalog that the tests of this package ask about."""

from tests.support.people import asked, asked_folder  # noqa: F401
