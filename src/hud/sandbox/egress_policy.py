"""Which hosts a sandbox may reach, and which addresses no name may lead it to.

Decides on names, ports and addresses; looking names up and connecting is the proxy's part. What an
address stands for follows the IANA special-purpose registries and the cloud providers' manuals.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hud._core.errors import InputError, bounded

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Host = str | IPv4Address | IPv6Address

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[0-9]{1,5}")
_NAME_AT_MOST = 253

# Never reachable, whatever a list says.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        *("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
        *("fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe"),
    )
)
_CLOSED: tuple[tuple[str, tuple[Network, ...]], ...] = tuple(
    (kind, tuple(ipaddress.ip_network(text) for text in texts))
    for kind, texts in (
        ("an unspecified", ("0.0.0.0/8", "::/128")),
        ("a link-local", ("169.254.0.0/16", "fe80::/10")),
        ("a multicast", ("224.0.0.0/4", "ff00::/8")),
        ("a reserved", ("240.0.0.0/4",)),
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_EMBEDDING = tuple(
    IPv6Network(text) for text in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
_ISATAP = frozenset((0x0000_5EFE, 0x0200_5EFE))


class Refused(Exception):
    """A sandbox asked for what it may not reach; the text is one sentence for it to read."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of a list: a name, a domain's subdomains, a network, or any host."""

    port: int | None
    name: str | None = None
    suffix: str | None = None
    network: Network | None = None

    def covers(self, address: Address, port: int) -> bool:
        return self.network is not None and self.port in (None, port) and address in self.network


class EgressPolicy:
    """What a sandbox may connect to.

    Args:
        allowed_hosts: None for every public host. Otherwise entries like "example.com" (that name
            only), "*.example.com" (names below it), "93.184.216.34", "10.1.0.0/16", "*", each with
            ":port" for one port only ("[2001:db8::1]:443" for IPv6).

    Loopback opens only to an entry that names it with a port ("127.0.0.1:8080",
    "localhost:8080"), a private address only to one that names it, its network or its full host
    name. This machine's other addresses, link-local, metadata, multicast and unspecified ones
    never open.

    Raises:
        InputError: for an entry that is none of these.
    """

    def __init__(self, allowed_hosts: Collection[str] | None = None) -> None:
        if isinstance(allowed_hosts, str):
            allowed_hosts = (allowed_hosts,)
        self.allowed_hosts = None if allowed_hosts is None else tuple(allowed_hosts)
        self._entries = [entry for text in self.allowed_hosts or () for entry in _entries(text)]

    def admit(self, host: Host, port: int) -> None:
        """Refuse a host that is not on the list, before its name is looked up anywhere.

        Raises:
            Refused: with the reason.
        """
        if self.allowed_hosts is None or any(entry == _Entry(None) for entry in self._entries):
            return
        for entry in self._entries:
            if entry.port not in (None, port):
                continue
            if entry == _Entry(entry.port) or _names(entry, host):
                return
        raise Refused(f"{shown(host, port)} is not among the hosts this sandbox may reach.")

    def select(self, host: Host, port: int, addresses: Iterable[Address]) -> list[Address]:
        """Return those of a host's addresses that may be connected to, in their order.

        Raises:
            Refused: when none is left, with the reason of the first.
        """
        chosen: list[Address] = []
        problems: list[str] = []
        is_named = isinstance(host, str) and any(
            entry.name == host and entry.port in (None, port) for entry in self._entries
        )
        for address in addresses:
            if isinstance(address, IPv6Address) and address in _MAPPED:
                address = IPv4Address(int(address) & 0xFFFF_FFFF)
            for meant in (address, *_embedded(address)):
                problem = self._problem(meant, port, is_named)
                if problem is not None:
                    problems.append(f"{shown(host, port)} is {problem} ({meant}).")
                    break
            else:
                chosen.append(address)
        if not chosen:
            raise Refused(problems[0] if problems else f"{shown(host, port)} has no address.")
        return chosen

    def _problem(self, address: Address, port: int, is_named: bool) -> str | None:
        """Say what keeps an address closed, or None."""
        if address in _METADATA:
            return "a metadata address of a cloud, which is closed to sandboxes"
        for kind, networks in _CLOSED:
            if any(
                address.version == network.version and address in network for network in networks
            ):
                return f"{kind} address, which is closed to sandboxes"
        covering = [entry for entry in self._entries if entry.covers(address, port)]
        if address.is_loopback:
            if any(_is_literal(entry) for entry in covering):
                return None
            return "a loopback address, which is closed to sandboxes unless listed with its port"
        if is_own(address):
            return "an address of the machine itself, which is closed to sandboxes"
        if not address.is_global and not is_named and not covering:
            return "a private address, which is closed to sandboxes unless listed"
        return None


def parse_host(text: str) -> Host:
    """Return a host name in its plain form, or the address a literal stands for.

    Raises:
        ValueError: for what is neither, and for numbers that only some programs take for an
            address (such as 0x7f.1).
    """
    if text.startswith("[") and text.endswith("]"):
        return IPv6Address(text[1:-1])
    if ":" in text:
        raise ValueError("an IPv6 address needs brackets")
    try:
        return IPv4Address(text)
    except ValueError:
        pass
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > _NAME_AT_MOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("not a host name")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        raise ValueError("neither a host name nor an address")
    return name


def parse_address(text: str) -> Address:
    """Return an address as a resolver gives it, refusing one that is bound to an interface.

    Raises:
        ValueError: for anything else.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError("an address of one interface")
    return address


def parse_port(text: str) -> int:
    """Return a port that can be connected to.

    Raises:
        ValueError: for anything else.
    """
    if _PORT.fullmatch(text) is None or not 1 <= int(text) <= 65535:
        raise ValueError("not a port")
    return int(text)


def shown(host: Host, port: int) -> str:
    """Return a host and port for a person to read."""
    return f"[{host}]:{port}" if isinstance(host, IPv6Address) else f"{host}:{port}"


def is_own(address: Address) -> bool:
    """Whether this machine itself has the address: only then can a socket be bound to it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError as error:
        # Where the family is missing nothing can be reached; any other failure closes it.
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True


def _names(entry: _Entry, host: Host) -> bool:
    if isinstance(host, str):
        return entry.name == host or (entry.suffix is not None and host.endswith(entry.suffix))
    if isinstance(host, IPv6Address) and host in _MAPPED:
        host = IPv4Address(int(host) & 0xFFFF_FFFF)
    return entry.network is not None and host in entry.network


def _is_literal(entry: _Entry) -> bool:
    network = entry.network
    return (
        entry.port is not None
        and network is not None
        and network.prefixlen == network.max_prefixlen
    )


def _embedded(address: Address) -> list[IPv4Address]:
    """Return the IPv4 addresses that packets to an IPv6 address may end up at."""
    if isinstance(address, IPv4Address):
        return []
    number = int(address)
    low = IPv4Address(number & 0xFFFF_FFFF)
    if number > 1 and any(address in network for network in _EMBEDDING):
        return [low]
    if (number >> 32) & 0xFFFF_FFFF in _ISATAP:
        return [low]
    if address.sixtofour is not None:
        return [address.sixtofour]
    return list(address.teredo or ())


def _entries(text: str) -> list[_Entry]:
    """Parse one entry of a list."""
    try:
        host, port = _split(text.strip().lower())
        if host == "*":
            return [_Entry(port)]
        if host.startswith("*."):
            name = parse_host(_ascii(host[2:]))
            if not isinstance(name, str):
                raise ValueError("no name after the star")
            return [_Entry(port, suffix=f".{name}")]
        network = _network(host)
        if network is None:
            name = parse_host(_ascii(host))
            assert isinstance(name, str)
            entries = [_Entry(port, name=name)]
            if name == "localhost":
                entries += [
                    _Entry(port, network=IPv4Network("127.0.0.1")),
                    _Entry(port, network=IPv6Network("::1")),
                ]
        else:
            entries = [_Entry(port, network=network)]
    except ValueError as error:
        raise InputError(
            f"allowed_hosts has {bounded(text)!r}: {error}",
            hint='entries look like "example.com", "*.example.com", "10.1.0.0/16", "host:443"',
        ) from None
    for entry in entries:
        if entry.network is not None and entry.network.is_loopback and not _is_literal(entry):
            raise InputError(
                f"allowed_hosts has {bounded(text)!r}, and loopback opens port by port only",
                hint='name one address and its port, such as "127.0.0.1:8080"',
            )
    return entries


def _split(text: str) -> tuple[str, int | None]:
    if "://" in text:
        raise ValueError("an address of a page, where a host is wanted")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("unbalanced brackets")
        return host, parse_port(rest[1:]) if rest else None
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, parse_port(port)
    return text, None


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        if "/" in text or ":" in text:
            raise
        return None


def _ascii(name: str) -> str:
    return name if name.isascii() else name.encode("idna").decode("ascii")
