import json
from argparse import ArgumentTypeError
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import pluralize

from generations.webhooks import addresses
from generations.webhooks.models import DeliveryState, WebhookDelivery, WebhookDeliveryQuerySet
from lockngen import exit_codes, tables
from lockngen.arguments import positive
from lockngen.database import retry
from lockngen.plain import one_line

STATES = [state.label.lower() for state in DeliveryState]
LISTED = 50
COLUMNS = ("id", "event", "generation", "receiver", "state", "attempts", "next_attempt_at", "ended_at", "error")


class Command(BaseCommand):
    help = "List webhooks and send them again. Standard output has the list; messages go to standard error."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = (
            "Exit codes: 0 success, also if there is nothing to list; 2 wrong arguments; 3 the database can't be used; "
            "4 there is no such webhook."
        )
        commands = parser.add_subparsers(dest="command", required=True)
        list_ = commands.add_parser("list", help="list the webhooks of a state, newest first")
        list_.add_argument("--state", choices=[*STATES, "all"], default="failed", help="(failed)")
        list_.add_argument("--limit", type=positive, default=LISTED, metavar="N", help=f"at most so many ({LISTED})")
        list_.add_argument("--json", action="store_true", help="print JSON")
        resend = commands.add_parser("resend", help="send webhooks again, now and with all attempts")
        chosen = resend.add_mutually_exclusive_group(required=True)
        chosen.add_argument("id", type=uuid, nargs="*", default=[], metavar="ID", help="as in the list")
        chosen.add_argument("--failed", action="store_true", help="all that have failed")

    def handle(self, command: str, **options) -> None:
        try:
            getattr(self, command)(**options)
        except retry.ERRORS as error:
            if retry.outage(error) is None:
                raise
            raise CommandError(f"The database failed: {one_line(error)}", returncode=exit_codes.DATABASE) from None

    def list(self, state: str, limit: int, **options) -> None:
        deliveries = WebhookDelivery.objects.select_related("generation__submission").order_by("-created_at")
        if state != "all":
            deliveries = deliveries.filter(state=STATES.index(state))
        rows = [facts(delivery) for delivery in deliveries[:limit]]
        if options["json"]:
            self.stdout.write(json.dumps(rows, indent=2))
        elif rows:
            table = [COLUMNS, *([row[name] if row[name] is not None else "–" for name in COLUMNS] for row in rows)]
            self.stdout.write("\n".join(tables.table(table)))
        else:
            self.stderr.write("There is none.")

    def resend(self, id: Sequence[UUID], failed: bool, **options) -> None:
        deliveries = WebhookDelivery.objects.failed() if failed else self.find(id)
        count = deliveries.send_again()
        self.stderr.write(f"{count:,} webhook{pluralize(count)} will be sent again.")

    def find(self, ids: Sequence[UUID]) -> WebhookDeliveryQuerySet:
        deliveries = WebhookDelivery.objects.filter(pk__in=ids)
        if missing := set(ids) - set(deliveries.values_list("pk", flat=True)):
            raise CommandError(
                f"There is no webhook {', '.join(sorted(map(str, missing)))}. webhooks list shows the ids.",
                returncode=exit_codes.NOT_FOUND,
            )
        return deliveries


def facts(delivery: WebhookDelivery) -> dict[str, Any]:
    return {
        "id": str(delivery.pk),
        "event": delivery.event,
        "generation": str(delivery.generation_id),
        "receiver": addresses.origin(addresses.parse(delivery.generation.submission.webhook)),
        "state": STATES[delivery.state],
        "attempts": delivery.attempts,
        "next_attempt_at": minute(delivery.next_attempt_at),
        "ended_at": minute(delivery.ended_at),
        "error": delivery.last_error,
    }


def minute(at) -> str | None:
    return at and at.isoformat(timespec="seconds")


def uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not the id of a webhook") from None
