"""Chunked request bodies, as .NET clients send them."""

from io import BytesIO

from django.conf import settings

BROKEN = "lockngen.broken_body"  # key of the WSGI environ: the chunks are incomplete or malformed


class ChunkedBodies:
    """WSGI middleware that gives a chunked body a Content-Length, which Django needs to read it.

    The server has removed the chunks' framing where it sets `wsgi.input_terminated`. No more is read than the largest
    allowed body and one byte, which is enough for the answer 413.
    """

    def __init__(self, application):
        self.application = application

    def __call__(self, environ: dict, start_response):
        if environ.pop("HTTP_TRANSFER_ENCODING", None):
            body = _read(environ)
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = BytesIO(body or b""), str(len(body or b""))
            environ[BROKEN] = body is None
        return self.application(environ, start_response)


def _read(environ: dict) -> bytes | None:
    """The body, or None if it can't be read."""
    if not environ.get("wsgi.input_terminated"):
        return None
    try:
        return environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
    except Exception:  # each server has errors of its own for this; the next request on the connection meets it again
        return None
