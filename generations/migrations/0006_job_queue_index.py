from django.db import migrations

NAME = "procrastinate_jobs_by_queue"


class Migration(migrations.Migration):
    atomic = False  # an index is built beside a system that goes on

    dependencies = [
        ("generations", "0005_deleted_at"),
        ("procrastinate", "0041_post_retry_failed_job"),
    ]

    operations = [
        # The head of a model's queue, for whoever takes a turn in it. The queue's own index is by priority alone.
        migrations.RunSQL(
            f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {NAME}"
            " ON procrastinate_jobs (queue_name, priority) WHERE status = 'todo'",
            f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}",
        ),
    ]
