"""Which errors say that a server's certificate is not trusted, whichever library met it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

SAYINGS = (
    "CERTIFICATE_VERIFY_FAILED",  # of Python
    "server certificate verification failed",  # of git with GnuTLS
    "SSL certificate problem",  # of git with OpenSSL
)


def distrusts(error: BaseException | str) -> bool:
    """Whether the error, one that led to it, or a program's text says so."""
    if isinstance(error, str):
        return any(saying in error for saying in SAYINGS)
    return any(
        isinstance(one, ssl.SSLCertVerificationError) or distrusts(str(one))
        for one in causes(error)
    )


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what led to it, one after the other."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
