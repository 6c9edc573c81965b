"""The address of a ComfyUI server: `comfyui://host:8188`, or `comfyuis://` for TLS."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from generations.renderers import options
from lockngen import retry_policies

PORTS = {"comfyui": 8188, "comfyuis": 443}
OPTIONS = {"patience": options.seconds, "concurrency": options.concurrency}


@dataclass(frozen=True, slots=True)
class Address:
    place: str
    """Host, port and path of the URL."""
    is_encrypted: bool
    patience: float = retry_policies.COMFYUI_CALL.timeout
    """Seconds for which a server may be unavailable before a render fails."""
    concurrency: int = 2
    """The server renders one prompt at a time; with two, an image is fetched while the next one is rendered."""

    @property
    def http(self) -> str:
        return f"{'https' if self.is_encrypted else 'http'}://{self.place}"

    @property
    def websocket(self) -> str:
        return f"{'wss' if self.is_encrypted else 'ws'}://{self.place}"


def parse(url: str) -> Address:
    """Parse a URL. Raises ValueError, whose message never contains a password of the URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or PORTS[parts.scheme]
    except (ValueError, KeyError):
        host = port = None
    if not host or parts.fragment or re.search(r"\s", url):
        raise ValueError("it is not the address of a ComfyUI server, such as comfyui://host:8188 or comfyuis://host.")
    if "@" in parts.netloc:
        raise ValueError("it contains a password: set COMFYUI_AUTHORIZATION to 'Basic …' or 'Bearer …' instead.")
    host = f"[{host}]" if ":" in host else host
    given = options.read(parts.query, OPTIONS)
    return Address(f"{host}:{port}{parts.path.rstrip('/')}", parts.scheme == "comfyuis", **given)
