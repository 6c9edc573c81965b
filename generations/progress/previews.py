"""Previews: images that are only partially rendered."""

from uuid import UUID

from django.db import connections, models
from django.db.models import F

from generations.status import Status


class PreviewManager(models.Manager):
    def current(self):
        """Those of running attempts."""
        return self.filter(generation__status=Status.PROCESSING, generation__attempts=F("attempt"))

    def of(self, generation) -> bytes | None:
        """The latest preview of a generation's running attempt."""
        image = self.current().filter(pk=generation.pk).values_list("image", flat=True).first()
        return None if image is None else bytes(image)

    def publish(self, generation_id: UUID, attempt: int, image: bytes) -> None:
        """Store a preview if this attempt is current. An attempt that is superseded meanwhile replaces no later one."""
        statement = """
            INSERT INTO generations_preview (generation_id, attempt, image)
            SELECT id, attempts, %s FROM generations_generation WHERE id = %s AND status = %s AND attempts = %s
            ON CONFLICT (generation_id) DO UPDATE SET attempt = excluded.attempt, image = excluded.image
            WHERE generations_preview.attempt <= excluded.attempt
        """
        with connections[self.db].cursor() as cursor:
            cursor.execute(statement, [image, generation_id, Status.PROCESSING.value, attempt])

    def delete_ended(self) -> None:
        """Remove those of attempts that have ended, which nothing reads any more."""
        self.exclude(pk__in=self.current()).delete()


class Preview(models.Model):
    """The latest preview of an attempt. The table is UNLOGGED: it is written every second, and its loss is harmless.

    There is no foreign key constraint, which would lock the generation's row.
    """

    generation = models.OneToOneField(
        "generations.Generation", models.DO_NOTHING, primary_key=True, db_constraint=False, related_name="+"
    )
    attempt = models.IntegerField()
    image = models.BinaryField(help_text="A WebP.")

    objects = PreviewManager()

    def __str__(self) -> str:
        return f"attempt {self.attempt} of {self.generation_id}"
