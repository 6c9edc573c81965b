from django.conf import settings
from django.core import checks

from generations import renderers


@checks.register
def renderer_is_known(app_configs, **kwargs) -> list[checks.CheckMessage]:
    try:
        renderers.from_url(settings.RENDERER_URL)
    except ValueError as error:
        return [checks.Error(f"RENDERER_URL: {error}", hint="Set RENDERER_URL=sketch:", id="generations.E001")]
    return []
