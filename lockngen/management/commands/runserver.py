import os

from django.conf import settings
from django.core.management import call_command
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV
from whitenoise.runserver_nostatic.management.commands import runserver


class Command(runserver.Command):
    """Django's development server, which migrates first where AUTO_MIGRATE is on."""

    def handle(self, *args, **options) -> None:
        # Once, and not again in the process that every change of the code starts anew.
        if settings.AUTO_MIGRATE and DJANGO_AUTORELOAD_ENV not in os.environ:
            call_command("migrate", interactive=False, verbosity=0)
        super().handle(*args, **options)
