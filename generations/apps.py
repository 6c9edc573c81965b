from django.apps import AppConfig


class GenerationsConfig(AppConfig):
    name = "generations"

    def ready(self) -> None:
        from apikeys import usage_provider
        from generations import checks  # noqa: F401  registers the system checks
        from generations.api import fast
        from generations.usage import GenerationUsage

        usage_provider.register(GenerationUsage())
        fast.register()
