from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from lockngen import exit_codes
from lockngen.database import retry


class Command(BaseCommand):
    help = "Wait until the database takes connections, DB_STARTUP_TIMEOUT seconds at most."
    requires_system_checks = ()

    def handle(self, **options) -> None:
        if not retry.wait_for_database():
            raise CommandError(
                f"The database took no connection in {settings.DB_STARTUP_TIMEOUT:g} seconds.",
                returncode=exit_codes.DATABASE,
            )
