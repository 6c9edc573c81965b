"""Whose generation is rendered next: keys take turns.

Every waiting generation has a turn, a number that only grows, and the smallest is served first. A key's next turn comes
one step after its last, and never before the turn that is being served: who waits long can't be overtaken by who comes
often, and who comes seldom goes next. This is start-time fair queueing (Goyal, Vin and Cheng, 1996), with renders for
packets. The turn becomes the priority of the job, so that the queue itself hands out jobs in this order.
"""

from django.db import connection, models, transaction

from apikeys.models import ApiKey
from generations.scheduling.queues import RENDER_TASK
from generations.status import Status
from lockngen.database import retry

ONE_SHARE = 60  # between two turns of a key, divided by the key's priority
URGENT = 2**31 - 1  # the largest priority that a job can have; what keeps the queue in order does not wait
FIRST = URGENT - 1  # the priority of turn 0
MAX_POSITION = 2_000_000_000  # beyond this the count begins anew; a job's priority has room for twice as many
WAITING_JOBS = f"procrastinate_jobs WHERE status = 'todo' AND task_name = '{RENDER_TASK}'"

# The turn being served: the latest that began. A crash of the database forgets it; the head of the queue comes close.
SERVED = f"""
    coalesce((SELECT max(started) FROM generations_turn), (SELECT {FIRST} - max(priority) FROM {WAITING_JOBS}), 0)
"""  # noqa: S608  nothing in these statements comes from outside
# Where the queue of a model lags behind, as few workers serve it, the turn of its head: who comes now comes next there.
SERVED_IN_QUEUE = f"least({SERVED}, (SELECT {FIRST} - max(priority) FROM {WAITING_JOBS} AND queue_name = %(queue)s))"  # noqa: S608
HAS_WAITING = f"""
    EXISTS (SELECT FROM generations_generation
            WHERE api_key_id = %(key)s AND status = {Status.PENDING} AND NOT is_deleted)
"""
# A key that has nothing waiting, for instance because it cancelled all of it, owes nothing for the turns it took; not
# at once, as others of its calls may be about to commit.
ADVANCE = f"""
    UPDATE generations_turn SET taken_at = clock_timestamp(), taken = CASE
        WHEN taken_at < clock_timestamp() - interval '10 seconds' AND NOT {HAS_WAITING} THEN {SERVED_IN_QUEUE}
        ELSE greatest(taken + %(step)s, {SERVED_IN_QUEUE}) END
    WHERE api_key_id = %(key)s RETURNING taken
"""  # noqa: S608
# The first turn of a key, or the first after a crash, when some of its generations may wait already.
ADVANCE_FIRST = f"""
    INSERT INTO generations_turn (api_key_id, taken_at, taken)
    SELECT %(key)s, clock_timestamp(), greatest({SERVED_IN_QUEUE}, (
        SELECT {FIRST} - min(priority) + %(step)s FROM {WAITING_JOBS} AND queueing_lock IN (
            SELECT id::text FROM generations_generation
            WHERE api_key_id = %(key)s AND status = {Status.PENDING} AND NOT is_deleted)))
    ON CONFLICT (api_key_id) DO UPDATE SET taken = generations_turn.taken + %(step)s RETURNING taken
"""  # noqa: S608


class FairShareManager(models.Manager):
    @retry.idempotent  # a turn that is taken and not used does no harm
    def assign_priority(self, api_key: ApiKey, queue: str) -> int:
        """Take the key's next turn, in a queue; the priority of the job that has it."""
        parameters = {"key": api_key.pk, "step": ONE_SHARE // api_key.priority, "queue": queue}
        with connection.cursor() as cursor:
            cursor.execute(ADVANCE, parameters)
            row = cursor.fetchone()
            if row is None:
                cursor.execute(ADVANCE_FIRST, parameters)
                row = cursor.fetchone()
        return FIRST - row[0]

    def record_start(self, api_key_id, priority: int) -> None:
        """Note that the turn of a job with this priority is served."""
        position = FIRST - priority
        later = models.Q(started__isnull=True) | models.Q(started__lt=position)
        self.filter(later, api_key_id=api_key_id).update(started=position)

    def rebase(self) -> None:
        """Count from 0 again where the turns have become large, and pull in jobs that were sent meanwhile."""
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
        where = WAITING_JOBS.partition("WHERE")[2]
        cursor.execute(f"UPDATE procrastinate_jobs SET priority = {to} WHERE {where} {which}", parameters)  # noqa: S608


class FairShare(models.Model):
    """How far a key has come. The table is UNLOGGED: it is written at every submit, and worth less than an fsync."""

    api_key = models.OneToOneField(ApiKey, models.CASCADE, primary_key=True, related_name="+")
    taken = models.BigIntegerField(help_text="The latest turn it took.")
    taken_at = models.DateTimeField()
    started = models.BigIntegerField(null=True, help_text="The latest of its turns that was served.")

    objects = FairShareManager()

    class Meta:
        db_table = "generations_turn"
        indexes = [
            # The turn being served is the largest of them.
            models.Index("started", name="turn_started"),
        ]

    def __str__(self) -> str:
        return f"turn {self.taken} of {self.api_key_id}"
