"""Reads rows for the clients that wait in this process: one query for all that need one at the same time."""

import asyncio
from collections.abc import Collection
from uuid import UUID

from apikeys.models import ApiKey
from generations.models import Generation
from lockngen.web import threads

Wanted = tuple[UUID, UUID]  # the ids of a generation and of the key that follows it


class RowReader:
    """Joins reads: those that are requested during a query share the next one. Used in one event loop."""

    def __init__(self):
        self._wanted: dict[Wanted, asyncio.Future] = {}
        self._task: asyncio.Task | None = None

    async def read(self, id: UUID, key_id: UUID) -> Generation | None:
        """The current row. None if it was removed or its key is no longer usable. Raises database errors."""
        future = self._wanted.setdefault((id, key_id), asyncio.get_running_loop().create_future())
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await asyncio.shield(future)  # others may wait for it as well

    async def _run(self) -> None:
        while self._wanted:
            wanted, self._wanted = self._wanted, {}
            try:
                found = await threads.query(current, wanted)
            except Exception as error:
                for future in wanted.values():
                    future.set_exception(error)
                    future.exception()  # nobody may be waiting for it any more
            else:
                for each, future in wanted.items():
                    future.set_result(found.get(each))


def current(wanted: Collection[Wanted]) -> dict[Wanted, Generation]:
    """The rows whose keys are usable. A deleted generation is among them, as its deletion ends it."""
    rows = Generation.all_objects.in_bulk({id for id, _ in wanted})
    usable = set(ApiKey.objects.usable().filter(pk__in={key for _, key in wanted}).values_list("pk", flat=True))
    return {(id, key): rows[id] for id, key in wanted if id in rows and key in usable}


reader = RowReader()
