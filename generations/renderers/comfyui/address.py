"""Where a ComfyUI server is: `comfyui://host:8188`, or `comfyuis://` for TLS."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from generations.renderers import options

PORTS = {"comfyui": 8188, "comfyuis": 443}
OPTIONS = {"patience": options.seconds, "concurrency": options.concurrency}
TAKES = "it takes comfyui://host:8188 or comfyuis://host"


@dataclass(frozen=True, slots=True)
class Address:
    place: str
    """Host, port and path, as they stand in a URL."""
    is_encrypted: bool
    patience: float = 60.0
    """How many seconds a server may be unavailable before a render fails."""
    concurrency: int = 2
    """It renders one after the other: meanwhile the picture of one is fetched while the next is rendered."""

    @property
    def http(self) -> str:
        return f"{'https' if self.is_encrypted else 'http'}://{self.place}"

    @property
    def websocket(self) -> str:
        return f"{'wss' if self.is_encrypted else 'ws'}://{self.place}"


def parse(url: str) -> Address:
    """Raises ValueError with what is wrong, never with a password in the URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or PORTS[parts.scheme]
    except (ValueError, KeyError):
        host = port = None
    if not host or parts.fragment or re.search(r"\s", url):
        raise ValueError(f"it is not the address of a ComfyUI server: {TAKES}.")
    if "@" in parts.netloc:
        raise ValueError("it contains a password: put it into COMFYUI_AUTHORIZATION, as 'Basic …' or 'Bearer …'.")
    host = f"[{host}]" if ":" in host else host
    given = options.read(parts.query, OPTIONS)
    return Address(f"{host}:{port}{parts.path.rstrip('/')}", parts.scheme == "comfyuis", **given)
