"""Why a server can't be used at the moment, for its operator."""

import socket
import ssl
from collections.abc import Iterator

import httpx

from generations.renderers.base import RendererFailure
from generations.renderers.http.address import Product

INVALID = "The renderer sent an invalid response."
WRONG_HOST = {62, 64}  # OpenSSL's codes for a certificate of another host name or address


def of_error(error: BaseException, product: Product) -> str:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            wrong_host = "RENDERER_URL must contain the host name of the certificate"
            trust = "SSL_CERT_FILE names a file of certificates to trust"
            remedy = wrong_host if cause.verify_code in WRONG_HOST else trust
            return f"its certificate is not trusted ({cause.verify_message}): {remedy}"
        if isinstance(cause, ssl.SSLError):
            return f"it does not use TLS properly; {product.scheme}:// is without TLS, {product.scheme}s:// with TLS"
        if isinstance(cause, socket.gaierror):
            return "its host name is unknown"
        if isinstance(cause, ConnectionRefusedError):
            return "it refuses the connection: no process listens at its port"
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return "it did not answer in time"
    if isinstance(error, httpx.RemoteProtocolError):
        return f"it closed the connection or does not use HTTP; {product.scheme}s:// is with TLS"
    os_errors = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    return f"it can't be reached: {os_errors[-1] if os_errors else type(error).__name__}"


def invalid_response(what: object) -> RendererFailure:
    return RendererFailure(INVALID, what)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, its causes, and the parts of groups."""
    seen: list[BaseException | None] = [None]
    pending = [error]
    while pending:
        if (cause := pending.pop()) not in seen:
            seen.append(cause)
            yield cause
            pending += [cause.__context__, cause.__cause__, *getattr(cause, "exceptions", ())]
