import re
from argparse import ArgumentTypeError
from datetime import timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apikeys.models import DEVELOPMENT_TOKEN, ApiKey

UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Command(BaseCommand):
    help = "Make API keys. Tokens alone go to standard output, everything else to standard error."

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        create = commands.add_parser("create", help="make a key and print its token, which can't be shown again")
        create.add_argument("name", help="who uses the key")
        create.add_argument("--rate-limit", type=int, default=100, help="requests a minute, 0 for no limit (100)")
        create.add_argument("--max-pending", type=int, default=0, help="unfinished generations at once, 0 for any (0)")
        create.add_argument("--expires-in", type=duration, help="30d, 12h or 90m from now (never)")
        commands.add_parser("ensure-development", help="make the development key, or make it usable again (DEBUG only)")

    def handle(self, command: str, **options) -> None:
        handlers = {"create": self.create, "ensure-development": self.ensure_development}
        handlers[command](**options)

    def create(self, name: str, rate_limit: int, max_pending: int, expires_in: timedelta | None, **options) -> None:
        expires_at = timezone.now() + expires_in if expires_in else None
        key, token = self.issue(name=name, rate_limit=rate_limit, max_pending=max_pending, expires_at=expires_at)
        self.stderr.write(f"{key}: this is the only time its token is shown.")
        self.stdout.write(token)

    def issue(self, **fields) -> tuple[ApiKey, str]:
        try:
            ApiKey(**fields).clean_fields(exclude=["key_hash", "prefix"])
        except ValidationError as error:
            raise CommandError(
                "; ".join(f"{name}: {' '.join(said)}" for name, said in error.message_dict.items())
            ) from None
        return ApiKey.objects.issue(**fields)

    def ensure_development(self, **options) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "The development key opens nothing unless DEBUG is on; make one with apikey create NAME."
            )
        ApiKey.objects.ensure_development()
        self.stdout.write(DEVELOPMENT_TOKEN)


def duration(text: str) -> timedelta:
    """A time such as 30d, 12h or 90m."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is no duration: it takes a number and m, h or d, such as 30d")
    return timedelta(**{UNITS[match[2]]: int(match[1])})
