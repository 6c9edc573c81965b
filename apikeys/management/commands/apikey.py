import json
import os
import pwd
import re
import socket
from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apikeys import listing, states, tokens
from apikeys.audit import Actor, Via
from apikeys.models import ApiKey
from apikeys.querysets import DEVELOPMENT_TOKEN, TransitionRefused
from lockngen import exit_codes
from lockngen.database import retry
from lockngen.plain import one_line

UNITS = {"m": "minutes", "h": "hours", "d": "days"}
# The help of each transition, its messages if it applied and if it didn't, and the states that need no mention then.
TRANSITIONS = {
    "revoke": ("revoke a key permanently", "is revoked", "was revoked already", ("revoked",)),
    "deactivate": ("deactivate a key", "is deactivated", "was inactive already", ("inactive",)),
    "activate": ("activate a deactivated key", "is activated", "was active already", states.USABLE),
    "delete": ("delete a key; it can be restored", "is deleted", "was deleted already", ("deleted",)),
    "restore": ("restore a deleted key", "is restored", "wasn't deleted", states.USABLE),
}
MAX_CANDIDATES = 5
EPILOG = (
    "KEY is an id, a token or the start of one. Exit codes: 0 success, also if there was nothing to do; 1 refused; "
    "2 wrong arguments; 3 the database can't be used; 4 there is no such key, or several."
)


class Command(BaseCommand):
    help = "Create and manage API keys. Standard output has only tokens, lists and JSON; messages go to standard error."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = EPILOG
        commands = parser.add_subparsers(dest="command", required=True)
        create = commands.add_parser("create", help="create a key and print its token, which can't be shown again")
        create.add_argument("name", help="the user of the key, for example")
        create.add_argument("--rate-limit", type=int, default=100, help="requests a minute, 0 for no limit (100)")
        create.add_argument(
            "--max-pending", type=int, default=0, help="unfinished generations at once, 0 for no quota (0)"
        )
        create.add_argument("--priority", type=int, default=1, help="renders for each one of other keys, 1 to 10 (1)")
        create.add_argument(
            "--expires-in", type=duration, help="time until it expires, such as 30d, 12h or 90m (never)"
        )
        rotate = commands.add_parser("rotate", help="create the key that replaces KEY and print its token")
        rotate.add_argument("key", metavar="KEY")
        rotate.add_argument("--grace", type=grace, required=True, help="how long KEY still works: 1h, or 0")
        rotate.add_argument("--expires-in", type=duration, help="time until the new key expires (when KEY expires)")
        for name, (purpose, *_) in TRANSITIONS.items():
            commands.add_parser(name, help=purpose).add_argument("key", metavar="KEY")
        commands.choices["revoke"].add_argument(
            "--cancel-pending", action="store_true", help="also cancel its pending generations"
        )
        list_ = commands.add_parser("list", help="list the keys that are not deleted, newest first")
        list_.add_argument("--all", action="store_true", help="include deleted keys")
        show = commands.add_parser("show", help="show a key with its state, usage and history")
        show.add_argument("key", metavar="KEY")
        for parser_ in (list_, show):
            parser_.add_argument("--json", action="store_true", help="print JSON")
        commands.add_parser(
            "ensure-development", help="create the development key, or make it usable again (DEBUG only)"
        )

    def handle(self, command: str, key: str | None = None, **options) -> None:
        try:
            if key is not None:
                options["key"] = self.find(key)
            if command in TRANSITIONS:
                self.change(command, **options)
            else:
                getattr(self, command.replace("-", "_"))(**options)
        except TransitionRefused as refused:
            raise CommandError(listing.printable(str(refused))) from None
        except retry.ERRORS as error:
            if retry.outage(error) is None:
                raise
            raise CommandError(f"The database failed: {one_line(error)}", returncode=exit_codes.DATABASE) from None

    def create(self, expires_in: timedelta | None, **options) -> None:
        fields = {name: options[name] for name in ("name", "rate_limit", "max_pending", "priority")}
        fields["expires_at"] = timezone.now() + expires_in if expires_in else None
        try:
            ApiKey(**fields).clean_fields(exclude=["key_hash", "prefix"])
        except ValidationError as error:
            raise CommandError(
                "; ".join(f"{name}: {' '.join(messages)}" for name, messages in error.message_dict.items()),
                returncode=exit_codes.USAGE,
            ) from None
        self.print_token(*ApiKey.objects.issue(by=caller(), **fields))

    def rotate(self, key: ApiKey, grace: timedelta, expires_in: timedelta | None, **options) -> None:
        fields = {"expires_at": timezone.now() + expires_in} if expires_in else {}
        new, token = key.rotate(grace=grace, by=caller(), **fields)
        until = f"works until {listing.minute(key.expires_at)} UTC" if key.is_usable else "no longer works"
        self.write_message(f"{key} {until}.")
        self.print_token(new, token)

    def print_token(self, key: ApiKey, token: str) -> None:
        self.write_message(f"{key}: copy the token now, as it is shown only once.")
        self.stdout.write(token)

    def change(self, command: str, key: ApiKey, cancel_pending: bool = False, **options) -> None:
        _, done, done_before, expected = TRANSITIONS[command]
        if command == "activate" and key.revoked_at:
            raise TransitionRefused(f"{key} is revoked, which is permanent. Create a new key with apikey create.")
        arguments = {"cancel_pending": True} if cancel_pending else {}
        applied = getattr(key, command)(by=caller(), **arguments)
        if command == "delete":
            applied = applied[0]
        state = "" if key.state in expected else f" It is {key.state}."
        self.write_message(f"{key} {done if applied else done_before}.{state}")

    def list(self, all: bool, **options) -> None:
        manager = ApiKey.all_objects if all else ApiKey.objects
        keys = listing.with_usage(manager.with_state().select_related("replaced_by").order_by("-id"))
        if options["json"]:
            self.print_json([listing.facts(key) for key in keys])
        else:
            self.stdout.write(listing.table(keys))

    def show(self, key: ApiKey, **options) -> None:
        if options["json"]:
            self.print_json(listing.more_facts(key))
        else:
            self.stdout.write(listing.details(key))

    def print_json(self, facts: Any) -> None:
        self.stdout.write(json.dumps(facts, indent=2, ensure_ascii=False))

    def ensure_development(self, **options) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "The development key is accepted only with DEBUG on. Create a key with apikey create NAME."
            )
        ApiKey.objects.ensure_development(by=caller())
        self.stdout.write(DEVELOPMENT_TOKEN)

    def write_message(self, text: str) -> None:
        self.stderr.write(listing.printable(text))

    def find(self, text: str) -> ApiKey:
        found = list(ApiKey.all_objects.matching(text).order_by("-id")[: MAX_CANDIDATES + 1])
        if len(found) == 1:
            return found[0]
        # A token may be given, but it is never printed.
        shown = tokens.visible(text) if text.startswith((tokens.LIVE, tokens.TEST)) else text[:40]
        if found:
            candidates = ", ".join(listing.printable(f"{key.pk} {key}") for key in found[:MAX_CANDIDATES])
            more = ", …" if len(found) > MAX_CANDIDATES else ""
            raise CommandError(
                f"Several keys start with {shown!r}: {candidates}{more}. Give a longer start or the id.",
                returncode=exit_codes.NOT_FOUND,
            )
        raise CommandError(
            f"There is no key {shown!r}. Give an id or the start of a token; apikey list shows them.",
            returncode=exit_codes.NOT_FOUND,
        )


def caller() -> Actor:
    """The account that runs the command, not the user of the environment variables."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # containers may run with a uid that has no name
        name = str(os.getuid())
    return Actor(Via.COMMAND, f"{name}@{socket.gethostname()}")


def duration(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is not a duration: use a number and m, h or d, such as 30d")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def grace(text: str) -> timedelta:
    return timedelta(0) if text == "0" else duration(text)
