from django.db.backends.postgresql import schema


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    def add_index(self, model, index, concurrently=False):
        # A migrator that was killed meanwhile leaves the index finished, and its migration not recorded as applied.
        if concurrently:
            self.remove_index(model, index, concurrently=True)  # … IF EXISTS
        super().add_index(model, index, concurrently)
