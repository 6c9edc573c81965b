"""PostgreSQL's column types for which Django has no field."""

from django.db import models


class FixedCharField(models.CharField):
    """`character(n)`, for text that always has `max_length` characters, such as a digest in hex."""

    def db_type(self, connection) -> str:
        return f"character({self.max_length})"

    def cast_db_type(self, connection) -> str:
        return self.db_type(connection)
