"""`/ht/workers`: whether a worker is alive, with the state of each renderer."""

from generations import monitoring, renderers
from lockngen.health import Check, ServiceUnavailable


class Workers(Check):
    """Fails when no worker has a recent heartbeat. Its figures are those of the status page."""

    def measure(self) -> None:
        if self.disclose:  # without permission for details, a probe must not query renderers
            self.figures["renderers"] = renderers.get_pool().states()
        queue = monitoring.queue()
        self.figures |= {
            "alive": sum(worker["is_alive"] for worker in monitoring.workers()),
            "waiting": queue["waiting"],
            "oldest_waiting_seconds": queue["oldest_waiting_seconds"],
        }
        if not self.figures["alive"]:
            raise ServiceUnavailable("no worker is alive")
