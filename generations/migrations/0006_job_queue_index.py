from django.db import migrations

NAME = "procrastinate_jobs_by_queue"


class Migration(migrations.Migration):
    atomic = False  # the index is built without blocking writes

    dependencies = [
        ("generations", "0005_deleted_at"),
        ("procrastinate", "0041_post_retry_failed_job"),
    ]

    operations = [
        # Fair share reads the head of a model's queue. The queue's own index is by priority alone.
        migrations.RunSQL(
            f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {NAME}"
            " ON procrastinate_jobs (queue_name, priority) WHERE status = 'todo'",
            f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}",
        ),
    ]
