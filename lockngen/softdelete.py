"""Soft delete: a deleted row is hidden until `hard_delete` removes it.

`objects` returns live rows and `all_objects` returns all rows. The default manager is `objects`, so
`get_object_or_404` and reverse relations hide deleted rows too. A forward key still finds its parent.

A unique constraint covers all rows, so that a deleted secret can't be used again. With `condition=LIVE` a deleted row
frees its value, and `restore` raises IntegrityError if another row has taken it.
A soft delete is an UPDATE: it sends no delete signals and does not cascade.
"""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

LIVE = Q(is_deleted=False)


class SoftDeleteQuerySet(models.QuerySet):
    def live(self):
        return self.filter(LIVE)

    def deleted(self):
        return self.filter(is_deleted=True)

    def delete(self) -> tuple[int, dict[str, int]]:
        """Hide the live rows; returns, as Django does, their number by model."""
        return self._counted(self.live().update(is_deleted=True, deleted_at=Now()))

    def restore(self) -> int:
        """Restore the deleted rows; returns their number."""
        return self.deleted().update(is_deleted=False, deleted_at=None)

    def hard_delete(self) -> tuple[int, dict[str, int]]:
        """Remove the rows permanently with Django's own delete and its on_delete rules."""
        return super().delete()

    for method in (delete, restore, hard_delete):
        # As in Django: `Model.objects.delete()` is too easily written by mistake.
        method.alters_data = method.queryset_only = True
    del method

    def _counted(self, count: int) -> tuple[int, dict[str, int]]:
        return count, {self.model._meta.label: count} if count else {}


class LiveManager(models.Manager):
    """Returns live rows. Combine it with a queryset: `LiveManager.from_queryset(ItsQuerySet)()`."""

    def get_queryset(self):
        return super().get_queryset().live()


class SoftDeleteModel(models.Model):
    is_deleted = models.BooleanField(default=False, db_default=False, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = LiveManager.from_queryset(SoftDeleteQuerySet)()
    all_objects = models.Manager.from_queryset(SoftDeleteQuerySet)()

    class Meta:
        abstract = True

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        counted = self._row(using).delete()
        self._reload()
        return counted

    def restore(self) -> bool:
        restored = bool(self._row().restore())
        self._reload()
        return restored

    def hard_delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        return super().delete(using=using, keep_parents=keep_parents)

    delete.alters_data = restore.alters_data = hard_delete.alters_data = True

    def _row(self, using: str | None = None) -> SoftDeleteQuerySet:
        return type(self).all_objects.using(using or self._state.db).filter(pk=self.pk)

    def _reload(self) -> None:
        """Reload the fields: the database's clock sets dates, and another process may have changed the row first."""
        self.refresh_from_db(fields=[field.attname for field in self._meta.concrete_fields if not field.primary_key])


def deletion_is_dated(name: str) -> models.CheckConstraint:
    """The constraint that `deleted_at` is set in deleted rows only."""
    return models.CheckConstraint(
        name=name,
        condition=Q(is_deleted=True, deleted_at__isnull=False) | Q(is_deleted=False, deleted_at__isnull=True),
    )
