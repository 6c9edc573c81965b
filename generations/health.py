"""`/ht/workers`: whether workers are alive, with the states of the renderers."""

from generations import renderers
from lockngen import health


class Workers(health.Workers):
    """Adds the state of each renderer, with the reason if it is down, as on the status page."""

    def measure(self) -> None:
        if self.disclose:  # a probe that can't see them must not query renderers
            self.figures["renderers"] = renderers.get_pool().states()
        super().measure()
