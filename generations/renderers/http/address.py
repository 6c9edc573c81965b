"""The address of a server as a renderer's URL, such as `comfyui://host:8188`, or `comfyuis://host` for TLS."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Product:
    """A kind of server, as messages for its operator name it."""

    name: str
    scheme: str
    """Without TLS. With TLS, an s follows."""
    port: int
    """The default without TLS."""
    setting: str
    """The name of the setting for the authorization."""

    @property
    def example(self) -> str:
        return f"{self.scheme}://host:{self.port} or {self.scheme}s://host"


@dataclass(frozen=True, slots=True)
class Location:
    product: Product
    place: str
    """Host, port and path of the URL."""
    is_encrypted: bool

    @property
    def http(self) -> str:
        return f"{'https' if self.is_encrypted else 'http'}://{self.place}"


def parse(url: str, product: Product) -> tuple[Location, str]:
    """The location and the query of a URL. Raises ValueError, whose message never contains a password of the URL."""
    ports = {product.scheme: product.port, f"{product.scheme}s": 443}
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or ports[parts.scheme]
    except (ValueError, KeyError):
        host = port = None
    if not host or parts.fragment or re.search(r"\s", url):
        raise ValueError(f"it is not the address of a server, such as {product.example}.")
    if "@" in parts.netloc:
        raise ValueError(f"it contains a password: set {product.setting} to 'Basic …' or 'Bearer …' instead.")
    host = f"[{host}]" if ":" in host else host
    return Location(product, f"{host}:{port}{parts.path.rstrip('/')}", parts.scheme != product.scheme), parts.query
