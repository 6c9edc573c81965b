"""Fair sharing of the workers between API keys: start-time fair queueing (Goyal, Vin and Cheng, 1996).

Every waiting generation has a position. Positions only grow, and the smallest is rendered first. A key's next position
is one share after its latest one, but not before the position being served. So a key with many generations can't
overtake a key that waits, and a key with few generations is served next. The position determines the priority of the
job, so that the queue itself returns jobs in this order.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from uuid import UUID

import orjson
from django.db import connection, models, transaction

from apikeys.models import ApiKey
from generations.scheduling.queues import RENDER_TASK
from generations.status import Status
from lockngen.database import retry

ONE_SHARE = 60  # between two positions of a key, divided by the key's priority
URGENT = 2**31 - 1  # the largest priority that a job can have, for the maintenance of the queue
FIRST = URGENT - 1  # the priority of position 0
MAX_POSITION = 2_000_000_000  # beyond this the positions are rebased; a job's priority can hold about twice that
WAITING = f"status = 'todo' AND task_name = '{RENDER_TASK}'"

# The position of the head of the queue, in bigint: that of a negative priority is out of the range of an integer.
HEAD = f"SELECT {FIRST}::bigint - max(priority) FROM procrastinate_jobs WHERE {WAITING}"  # noqa: S608  no user input
# The position being served: the latest that started. If it was lost in a crash, the head of the queue is close to it.
SERVED = f"coalesce((SELECT max(started) FROM generations_turn), ({HEAD}), 0)"  # noqa: S608
# If the queue of a model lags behind, because few workers serve it, the position of its head.
SERVED_IN_QUEUE = f"least({SERVED}, ({HEAD} AND queue_name = %(queue)s))"
PENDING = f"generations_generation WHERE api_key_id = %(key)s AND status = {Status.PENDING} AND NOT is_deleted"
# A key without pending generations, for instance because it cancelled them, starts again at the position being served.
# Not within 10 seconds, as other submissions of the key may be about to commit.
# Rows are locked in order, so that concurrent batches can't block each other.
# The keys are JSON, as the server would plan the statement anew for each array, which takes five times as long as it.
ADVANCE = f"""
    WITH wanted AS (
        SELECT * FROM json_to_recordset(%(wanted)s::json) AS wanted (key uuid, share int, count int)
    ), locked AS (
        SELECT api_key_id FROM generations_turn WHERE api_key_id IN (SELECT key FROM wanted)
        ORDER BY api_key_id FOR UPDATE
    )
    UPDATE generations_turn AS position SET taken_at = clock_timestamp(), taken = (count - 1) * share + CASE
        WHEN taken_at < clock_timestamp() - interval '10 seconds' AND NOT EXISTS (
            SELECT FROM generations_generation
            WHERE api_key_id = position.api_key_id AND status = {Status.PENDING} AND NOT is_deleted)
        THEN {SERVED_IN_QUEUE}
        ELSE greatest(taken + share, {SERVED_IN_QUEUE}) END
    FROM wanted JOIN locked ON locked.api_key_id = wanted.key
    WHERE position.api_key_id = wanted.key RETURNING position.api_key_id, taken
"""  # noqa: S608
# The first position of a key, or the first after a crash, when some of its generations may be waiting already.
ADVANCE_FIRST = f"""
    INSERT INTO generations_turn (api_key_id, taken_at, taken)
    SELECT %(key)s, clock_timestamp(), greatest({SERVED_IN_QUEUE}, (
        SELECT {FIRST}::bigint - min(priority) + %(share)s FROM procrastinate_jobs
        WHERE {WAITING} AND queueing_lock IN (SELECT id::text FROM {PENDING})))
    ON CONFLICT (api_key_id) DO UPDATE SET taken = generations_turn.taken + %(share)s RETURNING taken
"""  # noqa: S608


class FairShareManager(models.Manager):
    def assign_priorities(self, jobs: Sequence[tuple[ApiKey, str]]) -> list[int]:
        """Advance each job's key to its next position in the job's queue, and return the jobs' priorities in order."""
        by_queue: dict[str, list[ApiKey]] = defaultdict(list)
        for api_key, queue in jobs:
            by_queue[queue].append(api_key)
        positions = {queue: self._advance(queue, api_keys) for queue, api_keys in by_queue.items()}
        return [FIRST - positions[queue][api_key.pk].pop(0) for api_key, queue in jobs]

    @retry.idempotent  # an unused position does no harm
    def _advance(self, queue: str, api_keys: list[ApiKey]) -> dict[UUID, list[int]]:
        """The next positions of the keys in a queue, as many for each key as it is listed."""
        counts = Counter(api_key.pk for api_key in api_keys)
        shares = {api_key.pk: ONE_SHARE // api_key.priority for api_key in api_keys}
        wanted = [{"key": key, "share": shares[key], "count": count} for key, count in counts.items()]
        with connection.prepared_cursor() as cursor:
            cursor.execute(ADVANCE, {"queue": queue, "wanted": orjson.dumps(wanted).decode()})
            latest = dict(cursor.fetchall())
            positions = {
                key: [last - shares[key] * number for number in reversed(range(counts[key]))]
                for key, last in latest.items()
            }
            for key in counts.keys() - latest.keys():
                first = {"queue": queue, "key": key, "share": shares[key]}
                positions[key] = [cursor.execute(ADVANCE_FIRST, first).fetchone()[0] for _ in range(counts[key])]
        return positions

    def record_start(self, api_key_id, priority: int) -> None:
        position = FIRST - priority
        later = models.Q(started__isnull=True) | models.Q(started__lt=position)
        self.filter(later, api_key_id=api_key_id).update(started=position)

    def rebase(self) -> None:
        """Subtract the served position from all once it is large, and adjust jobs that were enqueued meanwhile."""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE generations_turn IN EXCLUSIVE MODE")
            cursor.execute(f"SELECT {SERVED}")
            (served,) = cursor.fetchone()
            if served > MAX_POSITION:
                cursor.execute("UPDATE generations_turn SET taken = taken - %s, started = started - %s", [served] * 2)
                self._raise_priorities(cursor, "least(priority::bigint + %s, %s)", [served, FIRST])
            latest = FIRST - (self.aggregate(latest=models.Max("taken"))["latest"] or 0)
            self._raise_priorities(cursor, "%s", [latest], f"AND priority < {latest}")

    def _raise_priorities(self, cursor, to: str, parameters: list[int], which: str = "") -> None:
        cursor.execute(f"UPDATE procrastinate_jobs SET priority = {to} WHERE {WAITING} {which}", parameters)  # noqa: S608


class FairShare(models.Model):
    """A key's position. The table is UNLOGGED: every submission writes to it, and its loss does little harm."""

    api_key = models.OneToOneField(ApiKey, models.CASCADE, primary_key=True, related_name="+")
    taken = models.BigIntegerField(help_text="The key's latest position.")
    taken_at = models.DateTimeField()
    started = models.BigIntegerField(null=True, help_text="The key's latest position that has started.")

    objects = FairShareManager()

    class Meta:
        db_table = "generations_turn"
        indexes = [
            # The position being served: the largest.
            models.Index("started", name="turn_started"),
        ]

    def __str__(self) -> str:
        return f"position {self.taken} of {self.api_key_id}"
