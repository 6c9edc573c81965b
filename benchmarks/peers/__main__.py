"""Serves a peer at PORT in two processes: python -m benchmarks.peers fastapi_sqlalchemy"""

import multiprocessing
import os
import signal
import socket
import sys
from importlib import import_module

import uvicorn

PROCESSES = 2


def serve(name: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A socket for each process: the kernel distributes connections evenly, which processes that accept from one don't.
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", int(os.environ["PORT"])))
    application = import_module(f"benchmarks.peers.{name}").app
    config = uvicorn.Config(application, loop="uvloop", http="httptools", access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # which ends the daemon processes
    processes = [multiprocessing.Process(target=serve, args=sys.argv[1:], daemon=True) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
