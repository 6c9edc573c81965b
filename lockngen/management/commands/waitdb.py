from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from lockngen import exit_codes
from lockngen.database.startup import wait_for_database


class Command(BaseCommand):
    help = "Wait until the database accepts connections, for at most DB_STARTUP_TIMEOUT seconds."
    requires_system_checks = ()

    def handle(self, **options) -> None:
        if not wait_for_database():
            raise CommandError(
                f"The database accepted no connection within {settings.DB_STARTUP_TIMEOUT:g} seconds.",
                returncode=exit_codes.DATABASE,
            )
