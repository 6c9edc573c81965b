import json
import os
import pwd
import re
import socket
from argparse import ArgumentTypeError
from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apikeys import listing, tokens
from apikeys.audit import Actor, Via
from apikeys.models import ApiKey
from apikeys.querysets import ACTIVE, DEVELOPMENT_TOKEN, WORKING, TransitionRefused
from lockngen import exit_codes
from lockngen.database import retry
from lockngen.plain import one_line

UNITS = {"m": "minutes", "h": "hours", "d": "days"}
# What each of these does to a key, what is said when it had been done before, and the state that it aims at.
TRANSITIONS = {
    "revoke": ("close a key for good", "revoked", "was revoked already", "revoked"),
    "deactivate": ("switch a key off", "deactivated", "was inactive already", "inactive"),
    "activate": ("switch a key on again", "activated", "was active already", "active"),
    "delete": ("hide a key, which opens nothing until it is restored", "deleted", "was deleted already", "deleted"),
    "restore": ("bring a deleted key back", "restored", "wasn't deleted", "active"),
}
CANDIDATES_SHOWN = 5
EXIT_CODES = (
    "KEY is an id, the start of a token or a whole one. Exit codes: 0 it is done, or was done before; "
    "1 refused; 2 wrong usage; 3 the database can't be reached; 4 there is no such key, or several."
)


class Command(BaseCommand):
    help = (
        "Make API keys and manage them. Tokens alone, lists and JSON go to standard output, all else to standard error."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = EXIT_CODES
        commands = parser.add_subparsers(dest="command", required=True)
        create = commands.add_parser("create", help="make a key and print its token, which can't be shown again")
        create.add_argument("name", help="who uses the key")
        create.add_argument("--rate-limit", type=int, default=100, help="requests a minute, 0 for no limit (100)")
        create.add_argument("--max-pending", type=int, default=0, help="unfinished generations at once, 0 for any (0)")
        create.add_argument("--priority", type=int, default=1, help="turns it gets where others get one, 1 to 10 (1)")
        create.add_argument("--expires-in", type=duration, help="30d, 12h or 90m from now (never)")
        rotate = commands.add_parser("rotate", help="make the key that takes another's place and print its token")
        rotate.add_argument("key", metavar="KEY")
        rotate.add_argument("--grace", type=grace, required=True, help="how long the old one works on: 1h, or 0")
        rotate.add_argument("--expires-in", type=duration, help="the new one's end (that of the old one)")
        for name, (purpose, *_) in TRANSITIONS.items():
            commands.add_parser(name, help=purpose).add_argument("key", metavar="KEY")
        commands.choices["revoke"].add_argument("--cancel-pending", action="store_true", help="and what waits for it")
        list_ = commands.add_parser("list", help="all keys but deleted ones, newest first")
        list_.add_argument("--all", action="store_true", help="deleted ones as well")
        show = commands.add_parser("show", help="one key: its state, what it is used for, what was done to it")
        show.add_argument("key", metavar="KEY")
        for parser_ in (list_, show):
            parser_.add_argument("--json", action="store_true", help="for scripts")
        commands.add_parser("ensure-development", help="make the development key, or make it usable again (DEBUG only)")

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
        fields["expires_at"] = end(expires_in)
        try:
            ApiKey(**fields).clean_fields(exclude=["key_hash", "prefix"])
        except ValidationError as error:
            raise CommandError(
                "; ".join(f"{name}: {' '.join(messages)}" for name, messages in error.message_dict.items()),
                returncode=exit_codes.USAGE,
            ) from None
        self.print_token(*ApiKey.objects.issue(by=caller(), **fields))

    def rotate(self, key: ApiKey, grace: timedelta, expires_in: timedelta | None, **options) -> None:
        fields = {"expires_at": end(expires_in)} if expires_in else {}
        new, token = key.rotate(grace=grace, by=caller(), **fields)
        until = listing.minute(key.expires_at)
        self.write_message(
            f"{key} works until {until} UTC." if key.state in WORKING else f"{key} opens nothing any more."
        )
        self.print_token(new, token)

    def print_token(self, key: ApiKey, token: str) -> None:
        self.write_message(f"{key}: this is the only time its token is shown.")
        self.stdout.write(token)

    def change(self, command: str, key: ApiKey, cancel_pending: bool = False, **options) -> None:
        _, done, done_before, aim = TRANSITIONS[command]
        if command == "activate" and key.revoked_at:
            raise TransitionRefused(f"{key} is revoked, and that is permanent: make a new key with apikey create.")
        arguments = {"cancel_pending": True} if cancel_pending else {}
        applied = getattr(key, command)(by=caller(), **arguments)
        if command == "delete":
            applied = applied[0]
        is_there = key.state == aim or (aim == ACTIVE and key.state in WORKING)
        is_elsewhere = "" if is_there else f" It is {key.state}."
        self.write_message(f"{key} {f'is {done}' if applied else done_before}.{is_elsewhere}")

    def list(self, all: bool, json: bool, **options) -> None:
        manager = ApiKey.all_objects if all else ApiKey.objects
        keys = listing.with_usage(manager.with_state().select_related("replaced_by").order_by("-id"))
        self.stdout.write(as_json([listing.facts(key) for key in keys]) if json else listing.table(keys))

    def show(self, key: ApiKey, json: bool, **options) -> None:
        self.stdout.write(as_json(listing.more_facts(key)) if json else listing.details(key))

    def ensure_development(self, **options) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "The development key opens nothing unless DEBUG is on; make one with apikey create NAME."
            )
        ApiKey.objects.ensure_development(by=caller())
        self.stdout.write(DEVELOPMENT_TOKEN)

    def write_message(self, text: str) -> None:
        self.stderr.write(listing.printable(text))

    def find(self, text: str) -> ApiKey:
        found = list(ApiKey.all_objects.matching(text).order_by("-id")[: CANDIDATES_SHOWN + 1])
        if len(found) == 1:
            return found[0]
        # A token may be given, but it is never printed.
        shown = tokens.visible(text) if text.startswith((tokens.LIVE, tokens.TEST)) else text[:40]
        if found:
            candidates = ", ".join(listing.printable(f"{key.pk} {key}") for key in found[:CANDIDATES_SHOWN])
            more = ", …" if len(found) > CANDIDATES_SHOWN else ""
            raise CommandError(
                f"Several keys start with {shown!r}: give more of it, or the id. They are {candidates}{more}.",
                returncode=exit_codes.NOT_FOUND,
            )
        raise CommandError(
            f"There is no key {shown!r}: give its id or the start of its token, as apikey list shows.",
            returncode=exit_codes.NOT_FOUND,
        )


def caller() -> Actor:
    """The user who runs the command: the account, not the environment's claim."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a uid without a name
        name = str(os.getuid())
    return Actor(Via.COMMAND, f"{name}@{socket.gethostname()}")


def duration(text: str) -> timedelta:
    """A time such as 30d, 12h or 90m."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is no duration: it takes a number and m, h or d, such as 30d")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def grace(text: str) -> timedelta:
    return timedelta(0) if text == "0" else duration(text)


def end(duration_: timedelta | None) -> datetime | None:
    return timezone.now() + duration_ if duration_ else None


def as_json(facts) -> str:
    return json.dumps(facts, indent=2, ensure_ascii=False)
