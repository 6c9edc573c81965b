from django.apps import AppConfig


class GenerationsConfig(AppConfig):
    name = "generations"

    def ready(self) -> None:
        from apikeys import usage_provider
        from generations import checks  # noqa: F401  registers the system checks
        from generations.api import fast
        from generations.dialects import openai
        from generations.dialects.automatic1111 import operations as automatic1111
        from generations.dialects.replicate import operations as replicate
        from generations.usage import GenerationUsage
        from lockngen.web import problems

        usage_provider.register(GenerationUsage())
        fast.register()
        problems.register_format(automatic1111.PATHS, automatic1111.as_error)
        problems.register_format(replicate.PATHS, replicate.as_error)
        problems.register_format(openai.PATHS, openai.as_error)
