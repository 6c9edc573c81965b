import pytest


@pytest.fixture(params=[True, False], ids=["debug", "no debug"])
def debug(request, settings):
    """Errors look the same with DEBUG on and off."""
    settings.DEBUG = request.param
