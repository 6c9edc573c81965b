"""`/ht/workers`: whether pictures are rendered, with the states of the renderers."""

from generations import renderers
from lockngen import health


class Workers(health.Workers):
    """Its figures include the state of each renderer, with the reason if it is down, as the status has them."""

    def measure(self) -> None:
        if self.disclose:  # a probe that can't see them asks no renderer
            self.figures["renderers"] = renderers.get_pool().states()
        super().measure()
