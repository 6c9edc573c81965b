"""How far a prompt is, over all of its nodes that take long."""

from typing import Any

from generations.renderers.base import Percent

SLOW = {"latent_image", "upscale_model"}  # the inputs by which samplers and upscalers are recognised
LARGEST = 99  # percent; 100 is a picture that is here


class Stages:
    """The slow nodes of a graph count the same. Without any, the node that reports stands for the whole."""

    def __init__(self, graph: dict[str, Any]):
        self.slow = {id for id, node in graph.items() if SLOW & node["inputs"].keys()}
        self.percent = 0
        self._done: set[str] = set()
        self._node: str | None = None

    def take_in(self, kind: str, data: dict[str, Any]) -> None:
        """Note an event of the prompt. The percentage never decreases."""
        node = data.get("node")
        if kind == "execution_cached":
            self._done |= {id for id in _list(data.get("nodes")) if isinstance(id, str)}
        elif kind == "executing":
            self._begin(node)
        elif kind == "progress" and (node is None or isinstance(node, str)):
            self._begin(node)
            self._report(node, data.get("value"), data.get("max"))
            return
        self._raise_to(self._share(0))

    def _begin(self, node: Any) -> None:
        if self._node is not None and self._node != node:
            self._done.add(self._node)
        self._node = node if isinstance(node, str) else None

    def _report(self, node: str | None, value: Any, largest: Any) -> None:
        if not (isinstance(value, int | float) and isinstance(largest, int | float) and 0 < largest < float("inf")):
            return
        if node in self.slow or not self.slow:
            value = min(largest, max(0, value))
            percent = max(self.percent, self._share(value / largest))
            self.percent = Percent(percent, int(value), int(largest))

    def _share(self, of_this_node: float) -> int:
        return int(LARGEST * (len(self._done & self.slow) + of_this_node) / max(1, len(self.slow)))

    def _raise_to(self, percent: int) -> None:
        if percent > self.percent:
            self.percent = percent


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
