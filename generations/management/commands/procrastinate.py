from django.core.management import call_command
from procrastinate.contrib.django.management.commands import procrastinate

from generations.scheduling import worker


class Command(procrastinate.Command):
    """procrastinate's command. A worker waits for its database and fetches jobs that it can run."""

    def handle(self, *args, **options) -> None:
        if options["command"] == "worker":
            call_command("waitdb")
            options |= worker.options(options)
        super().handle(*args, **options)
