import time
from collections.abc import Callable, Iterable

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import pluralize

from generations.images import orphans, retention
from generations.images.retention import Tally
from generations.models import Generation
from generations.templatetags.figures import size
from lockngen import exit_codes
from lockngen.arguments import positive
from lockngen.database import retry
from lockngen.plain import one_line

REPORT_INTERVAL = 2  # seconds


class Command(BaseCommand):
    help = (
        "Remove permanently the generations that have been kept for RETENTION_FINISHED and RETENTION_DELETED, and the "
        "records of webhooks that have been kept for RETENTION_WEBHOOKS, or, with --orphans, files that belong to no "
        "generation. It can be interrupted and repeated at any time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="change nothing, show what would be removed")
        parser.add_argument("--orphans", action="store_true", help="remove files older than a day without a generation")
        parser.add_argument("--batch", type=positive, metavar="N", help="generations or files at once (200 or 1000)")

    def handle(self, **options) -> None:
        run = self.purge_orphans if options["orphans"] else self.purge
        try:
            run(options["dry_run"], [options["batch"]] if options["batch"] else [])
        except KeyboardInterrupt:
            raise CommandError(
                "Stopped. The next purge continues from here.", returncode=exit_codes.INTERRUPTED
            ) from None
        except (CommandError, BrokenPipeError):
            raise
        except Exception as error:  # storages raise exceptions of their own
            code = exit_codes.FAILED if retry.outage(error) is None else exit_codes.DATABASE
            raise CommandError(f"The purge failed: {one_line(error)}", returncode=code) from error

    def purge(self, dry_run: bool, batch: list[int]) -> None:
        if not retention.expired():
            self.stderr.write("RETENTION_FINISHED and RETENTION_DELETED are 0: every generation is kept.")
        tally = self.follow((retention.survey if dry_run else retention.purge)(*batch), text)
        self.stdout.write(f"{removed(dry_run)} {text(tally)}.")
        if tally.failures:
            raise CommandError(f"{counted(tally.failures, 'file')} can't be removed now: the next purge retries.")

    def purge_orphans(self, dry_run: bool, batch: list[int]) -> None:
        if not (dry_run or Generation.all_objects.exists()):
            raise CommandError("The database has no generation at all: check DATABASE_URL.")
        self.examined = 0
        tally = self.follow(self.each_orphan(dry_run, batch), lambda tally: f"{text(tally)} of {self.examined:,}")
        # Standard output contains only the paths.
        self.stderr.write(f"{removed(dry_run)} {text(tally)} of {self.examined:,}.")

    def each_orphan(self, dry_run: bool, size: list[int]) -> Iterable[Tally]:
        tally = Tally()
        for batch in orphans.find(*size):
            self.examined += batch.files
            for orphan in batch.orphans:
                self.stdout.write(orphan.path)
                if not dry_run:
                    orphan.remove()
                tally.files += 1
                tally.bytes += orphan.bytes
            yield tally

    def follow(self, tallies: Iterable[Tally], text: Callable[[Tally], str]) -> Tally:
        """Return the last tally; report progress in between."""
        tally, reported_at = Tally(), time.monotonic()
        for tally in tallies:
            if time.monotonic() - reported_at > REPORT_INTERVAL:
                reported_at = time.monotonic()
                self.stderr.write(f"{text(tally)} …")
        return tally


def removed(dry_run: bool) -> str:
    return "Would remove" if dry_run else "Removed"


def text(tally: Tally) -> str:
    generations = f"{counted(tally.generations, 'generation')} and " if tally.generations else ""
    webhooks = f"{counted(tally.webhooks, 'webhook')}, " if tally.webhooks else ""
    return f"{webhooks}{generations}{counted(tally.files, 'file')} ({size(tally.bytes)})"


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{pluralize(number)}"
