from django.db.backends.postgresql import schema


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    # For the linter, which can't know of the DROP that comes before it.
    sql_create_index_concurrently = schema.DatabaseSchemaEditor.sql_create_index_concurrently.replace(
        "CONCURRENTLY", "CONCURRENTLY IF NOT EXISTS"
    )

    def add_index(self, model, index, concurrently=False):
        # A migrator that was killed meanwhile leaves the index finished, and its migration not recorded as applied.
        if concurrently:
            self.remove_index(model, index, concurrently=True)  # … IF EXISTS
        super().add_index(model, index, concurrently)
