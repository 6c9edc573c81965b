from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

from django.db import DatabaseError
from django.db.backends.postgresql import schema


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    # For the linter, which ignores the preceding DROP.
    sql_create_index_concurrently = schema.DatabaseSchemaEditor.sql_create_index_concurrently.replace(
        "CONCURRENTLY", "CONCURRENTLY IF NOT EXISTS"
    )

    def add_index(self, model, index, concurrently=False):
        if not concurrently:
            super().add_index(model, index)
            return
        with self.without_lock_timeout():
            # A killed migrate can leave the index created and its migration unrecorded.
            super().remove_index(model, index, concurrently=True)  # … IF EXISTS
            super().add_index(model, index, concurrently=True)

    def remove_index(self, model, index, concurrently=False):
        with self.without_lock_timeout() if concurrently else nullcontext():
            super().remove_index(model, index, concurrently)

    @contextmanager
    def without_lock_timeout(self) -> Iterator[None]:
        """For CONCURRENTLY, which waits for the end of all older transactions, and blocks no reads or writes."""
        self.execute("SET lock_timeout = 0")
        try:
            yield
        finally:
            with suppress(DatabaseError):
                self.execute("RESET lock_timeout")
