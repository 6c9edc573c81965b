"""The address of a ComfyUI server: `comfyui://host:8188`, or `comfyuis://` for TLS."""

from dataclasses import dataclass

from generations.renderers import options
from generations.renderers.http import address
from generations.renderers.http.address import Location, Product
from lockngen import retry_policies

COMFYUI = Product("ComfyUI", "comfyui", 8188, "COMFYUI_AUTHORIZATION")
PREVIEW_METHODS = ("auto", "latent2rgb", "taesd", "none", "default")


def _preview_method(value: str) -> str:
    if value not in PREVIEW_METHODS:
        raise ValueError(f"one of {', '.join(PREVIEW_METHODS)}")
    return value


OPTIONS = {"patience": options.seconds, "concurrency": options.concurrency, "preview_method": _preview_method}


@dataclass(frozen=True, slots=True)
class Address:
    location: Location
    patience: float = retry_policies.COMFYUI_CALL.timeout
    """Seconds for which a server may be unavailable before a render fails."""
    concurrency: int = 2
    """The server renders one prompt at a time; with two, an image is fetched while the next one is rendered."""

    preview_method: str = PREVIEW_METHODS[0]
    """How the server makes previews. `default` is the server's own setting, which is `none` unless it was started with
    another one. Servers that are older than this part of the interface use their own setting always.
    """

    @property
    def websocket(self) -> str:
        return f"{'wss' if self.location.is_encrypted else 'ws'}://{self.location.place}"


def parse(url: str) -> Address:
    """Parse a URL. Raises ValueError, whose message never contains a password of the URL."""
    location, query = address.parse(url, COMFYUI)
    return Address(location, **options.read(query, OPTIONS))
