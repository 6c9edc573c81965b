"""Commands as processes of their own."""

import os
import subprocess
import sys
from urllib.parse import urlsplit

from django.db import connection

from lockngen.environment import BASE_DIR


def manage(*arguments: str, variables: dict[str, str] | None = None, **options) -> subprocess.Popen:
    """One of manage.py's, on the test's own database."""
    database = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}").geturl()
    environment = {**os.environ, "DATABASE_URL": database, **(variables or {})}
    return subprocess.Popen([sys.executable, "manage.py", *arguments], cwd=BASE_DIR, env=environment, **options)
