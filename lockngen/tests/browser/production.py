"""Settings of the browser's tests: static files in a folder of their own, and a password hasher that is quick."""

import os
from pathlib import Path

from lockngen.settings import *  # noqa: F403

STATIC_ROOT = Path(os.environ["BROWSER_STATIC_ROOT"])
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
