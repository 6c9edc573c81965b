"""Reads rows for the clients that wait in this process: one query for all that need one at the same time."""

from uuid import UUID

from apikeys.models import ApiKey
from generations.models import Generation
from lockngen.web.batches import Batches

Wanted = tuple[UUID, UUID]  # the ids of a generation and of the key that follows it


def current(wanted: list[Wanted]) -> list[Generation | None]:
    """The current rows; None where it was removed or its key is no longer usable. A deletion ends a generation."""
    rows = Generation.all_objects.in_bulk({id for id, _ in wanted})
    usable = set(ApiKey.objects.usable().filter(pk__in={key for _, key in wanted}).values_list("pk", flat=True))
    return [rows.get(id) if key in usable else None for id, key in wanted]


reader = Batches(lambda wanted: current(wanted))  # looked up at each call, so that tests can replace it
