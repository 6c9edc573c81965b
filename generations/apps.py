from django.apps import AppConfig


class GenerationsConfig(AppConfig):
    name = "generations"

    def ready(self) -> None:
        from apikeys import work
        from generations import checks  # noqa: F401  registers the system checks
        from generations.work import Generations

        work.register(Generations())
