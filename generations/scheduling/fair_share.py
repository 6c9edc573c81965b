"""Fair sharing of the workers between API keys: start-time fair queueing (Goyal, Vin and Cheng, 1996).

Every waiting generation has a position. Positions only grow, and the smallest is rendered first. A key's next position
is one share after its latest one, but not before the position being served. So a key with many generations can't
overtake a key that waits, and a key with few generations is served next. The position determines the priority of the
job, so that the queue itself returns jobs in this order.
"""

from django.db import connection, models, transaction

from apikeys.models import ApiKey
from generations.scheduling.queues import RENDER_TASK
from generations.status import Status
from lockngen.database import retry

ONE_SHARE = 60  # between two positions of a key, divided by the key's priority
URGENT = 2**31 - 1  # the largest priority that a job can have, for the maintenance of the queue
FIRST = URGENT - 1  # the priority of position 0
MAX_POSITION = 2_000_000_000  # beyond this the positions are rebased; a job's priority has room for about as many again
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
ADVANCE = f"""
    UPDATE generations_turn SET taken_at = clock_timestamp(), taken = CASE
        WHEN taken_at < clock_timestamp() - interval '10 seconds' AND NOT EXISTS (SELECT FROM {PENDING})
        THEN {SERVED_IN_QUEUE}
        ELSE greatest(taken + %(share)s, {SERVED_IN_QUEUE}) END
    WHERE api_key_id = %(key)s RETURNING taken
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
    @retry.idempotent  # an unused position does no harm
    def assign_priority(self, api_key: ApiKey, queue: str) -> int:
        """Advance the key to its next position in a queue and return the priority for the job."""
        parameters = {"key": api_key.pk, "share": ONE_SHARE // api_key.priority, "queue": queue}
        with connection.cursor() as cursor:
            cursor.execute(ADVANCE, parameters)
            row = cursor.fetchone()
            if row is None:
                cursor.execute(ADVANCE_FIRST, parameters)
                row = cursor.fetchone()
        return FIRST - row[0]

    def record_start(self, api_key_id, priority: int) -> None:
        """Record that the job with this priority has started."""
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
