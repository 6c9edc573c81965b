"""Where a ComfyUI server is: `comfyui://host:8188`, or `comfyuis://` for TLS."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

PORTS = {"comfyui": 8188, "comfyuis": 443}
PATIENCE = 60.0  # seconds
TAKES = "it takes comfyui://host:8188 or comfyuis://host, and ?patience=SECONDS"


@dataclass(frozen=True, slots=True)
class Address:
    place: str
    """Host, port and path, as they stand in a URL."""
    is_encrypted: bool
    patience: float
    """How many seconds a server may be away before a render breaks off."""

    @property
    def http(self) -> str:
        return f"{'https' if self.is_encrypted else 'http'}://{self.place}"

    @property
    def websocket(self) -> str:
        return f"{'wss' if self.is_encrypted else 'ws'}://{self.place}"


def parse(url: str) -> Address:
    """Raises ValueError with what is wrong, but never with a password that the URL holds."""
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
    return Address(f"{host}:{port}{parts.path.rstrip('/')}", parts.scheme == "comfyuis", _patience(parts.query))


def _patience(query: str) -> float:
    options = parse_qsl(query, keep_blank_values=True)
    if not options:
        return PATIENCE
    ((name, value), *others) = options
    if name != "patience" or others or not re.fullmatch(r"\d{1,5}(\.\d+)?", value, re.ASCII):
        raise ValueError(f"its options can't be read: {TAKES}.")
    return float(value)
