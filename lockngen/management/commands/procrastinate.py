from django.core.management import call_command
from procrastinate.contrib.django.management.commands import procrastinate


class Command(procrastinate.Command):
    """The queue's command line. A worker waits for its database."""

    def handle(self, *args, **options) -> None:
        if options["command"] == "worker":
            call_command("waitdb")
        super().handle(*args, **options)
