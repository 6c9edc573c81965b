import os
import sys

from django.conf import settings
from django.core.management import BaseCommand, call_command

from lockngen import environment as env


class Command(BaseCommand):
    """The production server with one process, restarted when the code changes. AUTO_MIGRATE migrates first."""

    help = "Run a web process that is restarted when the code changes."

    def add_arguments(self, parser) -> None:
        parser.add_argument("addrport", nargs="?", default="127.0.0.1:8000", help="Address and port, or a port.")
        parser.add_argument("--noreload", action="store_true", help="Don't restart when the code changes.")

    def handle(self, *, addrport: str, noreload: bool, **options) -> None:
        if settings.AUTO_MIGRATE:
            call_command("migrate", interactive=False, verbosity=0)
        address = f"127.0.0.1:{addrport}" if addrport.isdigit() else addrport
        command = [sys.executable, "-m", "gunicorn", "-c", "lockngen/web/gunicorn.py", "--workers", "1"]
        command += ["--bind", address, *([] if noreload else ["--reload"]), "lockngen.asgi"]
        os.chdir(env.BASE_DIR)
        os.execv(command[0], command)  # noqa: S606  without a shell
