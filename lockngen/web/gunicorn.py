"""gunicorn's settings: `gunicorn -c lockngen/web/gunicorn.py lockngen.asgi`. Times are seconds."""

import os
import signal
import subprocess
import sys

from django.core.exceptions import ImproperlyConfigured

try:
    from lockngen import environment as env
    from lockngen import ports, settings  # reports a missing setting in one line, before a worker's traceback
    from lockngen.database import outage_flag  # noqa: F401  before the fork, so that the processes share it

    bind = f"{env.host()}:{env.port()}"
    workers = settings.WEB_WORKERS
    forwarded_allow_ips = ",".join(env.items("TRUSTED_PROXIES", "127.0.0.1,::1"))
except ImproperlyConfigured as error:
    sys.exit(str(error))

worker_class = "lockngen.web.worker.Worker"
asgi_lifespan = "off"
reuse_port = True  # with one shared socket, all keep-alive connections can end up in the same worker
timeout = 30
graceful_timeout = 30
keepalive = 75  # longer than common load balancers' idle timeout, so that they close the connection first
max_requests = 1_000_000  # limits the effect of a memory leak in a library
max_requests_jitter = 100_000
control_socket_disable = True
forwarder_headers = ""  # no header may set SCRIPT_NAME, not even a proxy's: it is the path of PUBLIC_URL
logger_class = settings.GUNICORN_LOGGER
# A heartbeat must not block on a disk.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108  memory, not a shared folder


def on_starting(server) -> None:
    """Refuse to start with invalid settings or if the port is in use."""
    if "GUNICORN_PID" not in os.environ:  # after USR2 the new server takes over the old one's sockets
        for address in server.cfg.address:
            if error := ports.error_of(address):
                sys.exit(error)
    end_forked_workers_by_sigterm()
    if env.PRESTART_DONE in os.environ:
        return
    # In a separate process, so that no module is loaded and no connection is open before the fork.
    command = [sys.executable, env.BASE_DIR / "manage.py", "prestart"]
    if code := subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        sys.exit(code)


def end_forked_workers_by_sigterm() -> None:
    """A worker inherits the master's handler, which ignores a SIGTERM until the worker has set its own.

    So the signal is blocked during the fork, and its default action ends the new process until then.
    """

    def reset() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM}),
        after_in_child=reset,
    )
