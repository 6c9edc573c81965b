"""PostgreSQL 16 for development and tests: its programs come from a wheel, its data is in LOCKNGEN_DATA.

Three lock files in `postgres/` coordinate the processes; the kernel releases the locks of a killed process.
`users.lock` is held shared by each process that uses the server; the last one to release it stops the server.
`start.lock` is held by the process that starts or stops the server. `server.lock` is inherited by the server
and its children; while it is free, none of them is running.
"""

from lockngen.database.embedded.programs import EmbeddedError
from lockngen.database.embedded.server import Server, running

__all__ = ["EmbeddedError", "Server", "running"]
