"""What errors of libraries say, whichever library it is: a distrusted certificate, a refusal."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Iterator

SAYINGS = (
    "CERTIFICATE_VERIFY_FAILED",  # of Python
    "server certificate verification failed",  # of git with GnuTLS
    "SSL certificate problem",  # of git with OpenSSL
)

AWAY_CODES = {"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling"}
"""Answers of an S3 store that mean: later."""

OWN_DISK = {errno.EACCES, errno.EDQUOT, errno.ENOENT, errno.ENOSPC, errno.ENOTDIR, errno.EROFS}
"""Of a remote that is a folder: what a person has to mend."""


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


def refuses(error: BaseException) -> bool:
    """Whether the error of a store's library is, or comes of, an answer that stays the same."""
    return any(_is_refusal(one) for one in causes(error))


def _is_refusal(error: BaseException) -> bool:
    answer = getattr(error, "response", None)  # of botocore
    if isinstance(answer, dict):
        code = answer.get("Error", {}).get("Code", "")
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return code not in AWAY_CODES and 400 <= status < 500
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
        return True
    return isinstance(error, OSError) and error.errno in OWN_DISK
