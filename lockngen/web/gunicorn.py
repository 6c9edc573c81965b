"""gunicorn's settings: `gunicorn -c lockngen/web/gunicorn.py lockngen.wsgi`. Times are seconds."""

import os
import signal
import subprocess
import sys

from django.core.exceptions import ImproperlyConfigured

try:
    from lockngen import environment as env
    from lockngen import ports, settings  # says what is missing in one line, before a worker's traceback

    bind = env.listen_address()
    workers = settings.WEB_WORKERS
    threads = settings.WEB_THREADS
    forwarded_allow_ips = ",".join(env.items("TRUSTED_PROXIES", "127.0.0.1,::1"))
except ImproperlyConfigured as error:
    sys.exit(str(error))

worker_class = "lockngen.web.worker.Worker"
reuse_port = True  # one socket for all can leave every keep-alive connection with the same worker
timeout = 30
graceful_timeout = 30
keepalive = 75  # longer than common load balancers keep an idle connection, so that they end it, not we
max_requests = 50_000  # a leak in a library stays small
max_requests_jitter = 5_000
control_socket_disable = True
forwarder_headers = ""  # no header, also not a proxy's, sets SCRIPT_NAME: the path of PUBLIC_URL does
logger_class = "apikeys.logs.GunicornLogger"  # leaves no token in a log
# A heartbeat must not wait for a disk.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108  memory, not a shared folder


def on_starting(server) -> None:
    """Refuse to start with settings that can't work, or where another server listens."""
    if "GUNICORN_PID" not in os.environ:  # after USR2 the new server takes over the old one's sockets
        for address in server.cfg.address:
            if error := ports.error_of(address):
                sys.exit(error)
    end_forked_workers_by_sigterm()
    if env.PRESTART_DONE in os.environ:
        return
    # In a process of its own, so that nothing is loaded and no connection is open before the fork.
    command = [sys.executable, env.BASE_DIR / "manage.py", "prestart"]
    if code := subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        sys.exit(code)


def end_forked_workers_by_sigterm() -> None:
    """A worker inherits the master's handler, which ignores a SIGTERM until the worker has set its own.

    So the signal is blocked while a process forks, and ends the new one until then.
    """

    def reset() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM}),
        after_in_child=reset,
    )
