"""Progress of a prompt over all of its slow nodes."""

from typing import Any

from generations.renderers.base import Percent
from generations.renderers.untrusted import as_list
from generations.renderers.workflows.graph import links

SLOW = ({"latent_image"}, {"upscale_model"}, {"seed", "steps"})  # inputs that identify samplers and upscalers
MAX_PERCENT = 99  # 100 is an image that was fetched


class Stages:
    """All slow nodes of a graph have equal weights. Without any, each node counts whose output another one uses."""

    def __init__(self, graph: dict[str, Any]):
        slow = {id for id, node in graph.items() if any(inputs <= node["inputs"].keys() for inputs in SLOW)}
        self.slow = slow or {source for id in graph for _, source in links(graph, id)} & graph.keys()
        self.percent = 0
        self._done: set[str] = set()
        self._node: str | None = None

    def process(self, kind: str, data: dict[str, Any]) -> None:
        """Process an event of the prompt. The percentage never decreases."""
        node = data.get("node")
        if kind == "execution_cached":
            self._done |= {id for id in as_list(data.get("nodes")) if isinstance(id, str)}
        elif kind == "executing":
            self._begin(node)
        elif kind == "progress":
            self._begin(data.get("node", self._node))  # older servers omit it
            self._report(data.get("value"), data.get("max"))
            return
        self.percent = max(self.percent, self._share(0))

    def _begin(self, node: Any) -> None:
        if self._node is not None and self._node != node:
            self._done.add(self._node)
        self._node = node if isinstance(node, str) else None

    def _report(self, value: Any, largest: Any) -> None:
        if not (isinstance(value, int | float) and isinstance(largest, int | float) and 0 < largest < float("inf")):
            return
        if self._node in self.slow or not self.slow:
            value = min(largest, max(0, value))
            percent = max(self.percent, self._share(value / largest))
            self.percent = Percent(percent, step=int(value), steps=int(largest))

    def _share(self, of_this_node: float) -> int:
        return int(MAX_PERCENT * (len(self._done & self.slow) + of_this_node) / max(1, len(self.slow)))
