"""The address of a ComfyUI server: `comfyui://host:8188`, or `comfyuis://` for TLS."""

from dataclasses import dataclass

from generations.renderers import options
from generations.renderers.http import address
from generations.renderers.http.address import Location, Product
from lockngen import retry_policies

COMFYUI = Product("ComfyUI", "comfyui", 8188, "COMFYUI_AUTHORIZATION")
OPTIONS = {"patience": options.seconds, "concurrency": options.concurrency}


@dataclass(frozen=True, slots=True)
class Address:
    location: Location
    patience: float = retry_policies.COMFYUI_CALL.timeout
    """Seconds for which a server may be unavailable before a render fails."""
    concurrency: int = 2
    """The server renders one prompt at a time; with two, an image is fetched while the next one is rendered."""

    @property
    def websocket(self) -> str:
        return f"{'wss' if self.location.is_encrypted else 'ws'}://{self.location.place}"


def parse(url: str) -> Address:
    """Parse a URL. Raises ValueError, whose message never contains a password of the URL."""
    location, query = address.parse(url, COMFYUI)
    return Address(location, **options.read(query, OPTIONS))
