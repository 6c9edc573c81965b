"""Whether the address to listen on is free. With SO_REUSEPORT, two servers could share it without an error."""

import errno
import socket

REMEDIES = {
    errno.EADDRINUSE: "is taken: stop what listens there, or set PORT to another one",
    errno.EACCES: "may not be used by this user: set PORT to one from 1024 up",
}


def error_of(address: tuple[str, int] | str) -> str | None:
    """Why a server can't listen at a host and port, in one line with the remedy, or None. Paths are not examined."""
    if not isinstance(address, tuple):
        return None
    host, port = address[0].strip("[]"), address[1]
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            # Connections that are still being closed don't count. Without SO_REUSEPORT a listening socket does.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if remedy := REMEDIES.get(error.errno):
            return f"Port {port} {remedy}."
        return f"BIND is {host!r}, where this machine can't listen: {error.strerror}."
    return None
