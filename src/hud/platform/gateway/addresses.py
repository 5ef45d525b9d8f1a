"""Which addresses no provider is asked at, whatever a row says, and which proxy lies before one."""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from typing import Any
from urllib.parse import urlsplit

_METADATA_NAMES = ("metadata.google.internal", "metadata")
# Where clouds hand out credentials over plain HTTP beside the link-local address.
_METADATA = (ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200"))


class ForbiddenAddress(OSError):
    """A name led to an address that is never asked."""


def is_forbidden(address: str) -> bool:
    """Tell whether an address is link-local or a cloud's own: no model is served there."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped or found
    return found.is_link_local or found.is_multicast or found in _METADATA


def is_forbidden_host(url: str) -> bool:
    """Tell whether the host of an address is forbidden by how it is written."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    return host in _METADATA_NAMES or is_forbidden(host)


def open_socket(info: Any) -> socket.socket:
    """Make the socket of one connection, after its name is resolved and before it is dialled.

    Raises:
        ForbiddenAddress: when the name led somewhere no provider is.
    """
    family, kind, proto, _, address = info
    if is_forbidden(str(address[0])):
        raise ForbiddenAddress(1, "a link-local address is never asked")
    return socket.socket(family=family, type=kind, proto=proto)


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment puts before an address."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxy = urllib.request.getproxies().get(parts.scheme)
    return proxy if proxy and proxy.startswith(("http://", "https://")) else None
