from django.apps import AppConfig


class LockNGenConfig(AppConfig):
    name = "lockngen"
    verbose_name = "LockN Gen"

    def ready(self) -> None:
        from lockngen import checks, login  # noqa: F401  registers the system checks and a signal's receiver
        from lockngen.storage import s3_checks  # noqa: F401
