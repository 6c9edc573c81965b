from django.db.backends.postgresql import schema


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    # For the linter, which does not see the preceding DROP.
    sql_create_index_concurrently = schema.DatabaseSchemaEditor.sql_create_index_concurrently.replace(
        "CONCURRENTLY", "CONCURRENTLY IF NOT EXISTS"
    )

    def add_index(self, model, index, concurrently=False):
        # A killed migrate can leave the index created and its migration unrecorded.
        if concurrently:
            self.remove_index(model, index, concurrently=True)  # … IF EXISTS
        super().add_index(model, index, concurrently)
