"""gunicorn's settings as they ship, but for the checks at its start, which would ask for collected static files."""

from lockngen.web.gunicorn import *  # noqa: F403


def on_starting(server) -> None:
    pass
