from django.conf import settings
from django.core.management import call_command
from django.utils.module_loading import import_string
from procrastinate.contrib.django.management.commands import procrastinate


class Command(procrastinate.Command):
    """procrastinate's command. A worker waits for its database and fetches jobs that it can run."""

    def handle(self, *args, **options) -> None:
        if options["command"] == "worker":
            call_command("waitdb")
            options |= import_string(settings.WORKER_OPTIONS)(options)
        super().handle(*args, **options)
