"""One attempt to send a webhook: an HTTP request that is limited in time and size, to an allowed address only."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import httpcore
from django.conf import settings

from generations.webhooks import addresses
from lockngen import __version__, retry_after
from lockngen.plain import one_line

CONNECT_TIMEOUT = 3.0  # seconds for each of a host's addresses
MOST_READ = 16 * 1024  # bytes of a response's body, which isn't used
READ_TIMEOUT = 1.0  # seconds for them
GONE = 410


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an attempt. Without `error` the receiver has accepted the event."""

    status: int | None = None
    error: str | None = None
    retry_after: float = 0.0  # seconds
    is_final: bool = False  # no further attempt can succeed


async def send(url: str, headers: dict[str, str], body: bytes) -> Outcome:
    try:
        async with asyncio.timeout(settings.WEBHOOK_TIMEOUT):
            return await _send(url, headers, body)
    except addresses.AddressRefused as error:
        return Outcome(error=str(error), is_final=True)
    except (TimeoutError, httpcore.TimeoutException):
        return Outcome(error=f"it did not answer within {settings.WEBHOOK_TIMEOUT:g} seconds")
    except (OSError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
        return Outcome(error=f"it can't be reached: {one_line(error)}")


async def _send(url: str, headers: dict[str, str], body: bytes) -> Outcome:
    parsed = addresses.parse(url)
    target = httpcore.URL(
        scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path or b"/"
    )
    credentials = f"{parsed.username}:{parsed.password}".encode()
    headers = {
        "Host": parsed.netloc.decode("ascii"),
        "Content-Type": "application/json",
        "User-Agent": f"LockNGen/{__version__}",
        "Connection": "close",
        **headers,
        **({"Authorization": f"Basic {b64encode(credentials).decode()}"} if parsed.userinfo else {}),
    }
    async with (
        httpcore.AsyncConnectionPool(ssl_context=_tls(), network_backend=CheckedNetwork(), max_connections=1) as pool,
        pool.stream("POST", target, headers=headers, content=body) as response,
    ):
        outcome = _outcome(response)
        await _drain(response)
    return outcome


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to the address that was checked, so that a second resolution can't return another one.

    TLS still verifies the name of the URL.
    """

    def __init__(self):
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable | None = None,
    ) -> httpcore.AsyncNetworkStream:
        error: Exception = OSError("its name has no address")
        for address in await addresses.resolve(host, port):
            try:
                return await self._network.connect_tcp(str(address), port, CONNECT_TIMEOUT)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failure:
                error = _cause(failure)
        raise error


def _cause(error: BaseException) -> BaseException:
    """The first error: those that were raised from it say less."""
    return _cause(error.__cause__) if error.__cause__ else error


def _outcome(response: httpcore.Response) -> Outcome:
    status = response.status
    if 200 <= status < 300:
        return Outcome(status)
    error = f"it answered {status}"
    if 300 <= status < 400:
        error += " with a redirect, which is not followed"
    wait = next((value for name, value in response.headers if name.lower() == b"retry-after"), b"").decode("latin-1")
    return Outcome(status, error, retry_after.seconds(wait), is_final=status == GONE)


async def _drain(response: httpcore.Response) -> None:
    """Read a little of the body: some receivers stop their work when a connection is closed before they answered.

    An error meanwhile doesn't change the outcome, which the status determines.
    """
    read = 0
    try:
        async with asyncio.timeout(READ_TIMEOUT):
            async for chunk in response.aiter_stream():
                read += len(chunk)
                if read > MOST_READ:
                    return
    except (TimeoutError, OSError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException):
        return


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
