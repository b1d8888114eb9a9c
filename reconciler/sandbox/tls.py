"""Certificates for the stand-in servers, from an authority of their own."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class TlsContext:
    """What a server needs, and the PEM file with which a client will trust it."""

    server_side: ssl.SSLContext
    ca_pem: Path


def make_tls(folder: Path, *names: str) -> TlsContext:
    """Make an authority and a certificate for 127.0.0.1, localhost and `names`; the authority's PEM is put in `folder`.

    Raises:
        RuntimeError: the package trustme, which is for development, is not installed.
    """
    try:
        import trustme  # noqa: PLC0415 - only https needs it, and only in development
    except ImportError as error:
        raise RuntimeError("https in the sandbox needs the package trustme: pip install trustme") from error
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost", *names).configure_cert(context)
    ca_pem = folder / "sandbox-ca.pem"
    authority.cert_pem.write_to_path(str(ca_pem))
    return TlsContext(context, ca_pem)
