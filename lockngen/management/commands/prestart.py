from django.conf import settings
from django.core.checks import WARNING
from django.core.management import call_command
from django.core.management.base import BaseCommand

from lockngen.database import retry


class Command(BaseCommand):
    help = "What the web does once before it forks: wait for the database, check the settings, in development migrate."
    requires_system_checks = ()

    def handle(self, **options) -> None:
        retry.wait_for_database()  # without one the web starts all the same: it says 503 until there is one
        self.check(databases=["default"], fail_level=WARNING)
        if settings.AUTO_MIGRATE:
            call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
