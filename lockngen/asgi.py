import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lockngen.settings")

import django

django.setup()

from lockngen.web.application import Application  # noqa: E402  needs the set-up

application = Application()
