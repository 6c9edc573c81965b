"""The PostgreSQL 16 of development and tests: its programs come from a wheel, its data live in LOCKNGEN_DATA.

Three lock files in `postgres/` keep order, and the kernel drops a killed process's locks by itself:
`users.lock` is held shared by every process that needs the server, and whoever leaves last stops it;
`start.lock` is held by the one process that starts or stops it; `server.lock` is inherited by the server
and its children, so while nobody holds it none of them lives.
"""

from lockngen.database.embedded.programs import EmbeddedError
from lockngen.database.embedded.server import Server, running

__all__ = ["EmbeddedError", "Server", "running"]
