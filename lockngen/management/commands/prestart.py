from django.conf import settings
from django.core.checks import WARNING
from django.core.management import call_command
from django.core.management.base import BaseCommand

from lockngen.database.startup import wait_for_database


class Command(BaseCommand):
    help = "Run what precedes the web's fork: wait for the database, check the settings, and migrate in development."
    requires_system_checks = ()

    def handle(self, **options) -> None:
        wait_for_database()  # the web also starts without a database, and answers 503 until it is available
        self.check(databases=["default"], fail_level=WARNING)
        if settings.AUTO_MIGRATE:
            call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
