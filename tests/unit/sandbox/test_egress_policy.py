"""Which hosts and addresses a policy opens, and which no entry and no name can open."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from hud._core.errors import InputError
from hud.sandbox.egress_policy import EgressPolicy, Refused, is_own, parse_host, parse_port

PUBLIC = "93.184.216.34"
PUBLIC_6 = "2606:2800:220:1:248:1893:25c8:1946"


def opens(allowed: list[str] | None, host: str, port: int, *addresses: str) -> list[str]:
    """Return the addresses a host may be reached at; [] when it is refused."""
    policy = EgressPolicy(allowed)
    parsed = parse_host(host)
    try:
        policy.admit(parsed, port)
        found = [ipaddress.ip_address(text) for text in addresses or (host.strip("[]"),)]
        return [str(address) for address in policy.select(parsed, port, found)]
    except Refused:
        return []


CLOSED_ALWAYS = [
    *("0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.1.1", "100.100.100.200"),
    *("168.63.129.16", "192.0.0.192", "224.0.0.1", "239.255.255.250", "240.0.0.1"),
    *("255.255.255.255", "::", "fe80::1", "ff02::1", "fd00:ec2::254", "fd20:ce::254"),
]
LOOPBACK = ["127.0.0.1", "127.8.8.8", "::1"]
PRIVATE = ["10.0.0.1", "172.16.0.1", "192.168.77.1", "100.64.0.1", "fc00::1", "198.18.0.1"]


def in_other_forms(text: str) -> list[str]:
    """Return the IPv6 addresses by which an IPv4 address could be reached."""
    number = int(ipaddress.IPv4Address(text))
    forms = [
        (0xFFFF << 32) | number,
        number,
        (0xFFFF << 48) | number,
        int(ipaddress.IPv6Address("64:ff9b::")) | number,
        int(ipaddress.IPv6Address("64:ff9b:1::")) | number,
        (0x2002 << 112) | (number << 80) | 1,
        (0x2001 << 112) | (number ^ 0xFFFFFFFF),
        int(ipaddress.IPv6Address("2600::5efe:0:0")) | number,
    ]
    return [str(ipaddress.IPv6Address(form)) for form in forms]


@pytest.mark.parametrize("address", [*CLOSED_ALWAYS, *LOOPBACK, *PRIVATE])
def test_by_default_only_public_addresses_open(address: str) -> None:
    assert opens(None, "name.example", 80, address) == []
    assert opens(["*.example"], "name.example", 80, address) == []
    literal = f"[{address}]" if ":" in address else address
    assert opens(None, literal, 80) == []


@pytest.mark.parametrize("address", [PUBLIC, PUBLIC_6])
def test_public_addresses_open_by_default(address: str) -> None:
    assert opens(None, "name.example", 443, address) == [address]
    assert opens(None, f"[{address}]" if ":" in address else address, 443) == [address]


@pytest.mark.parametrize("address", CLOSED_ALWAYS)
def test_no_entry_opens_what_is_closed_always(address: str) -> None:
    everything = ["0.0.0.0/0", "::/0", "name.example", "*", address]
    assert opens(everything, "name.example", 80, address) == []
    assert opens(everything, f"[{address}]" if ":" in address else address, 80) == []


@pytest.mark.parametrize(
    "address", [text for text in (*CLOSED_ALWAYS, *LOOPBACK, *PRIVATE) if ":" not in text]
)
def test_no_other_form_of_an_address_opens_it(address: str) -> None:
    for form in in_other_forms(address):
        if form != "::1":
            assert opens(None, "name.example", 80, form) == [], form


def test_a_mapped_public_address_is_reached_as_what_it_is() -> None:
    assert opens(None, "name.example", 80, f"::ffff:{PUBLIC}") == [PUBLIC]
    assert opens([PUBLIC], f"[::ffff:{PUBLIC}]", 80) == [PUBLIC]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_opens_when_it_is_named(address: str) -> None:
    literal = f"[{address}]" if ":" in address else address
    width = 120 if ":" in address else 24
    network = str(ipaddress.ip_network(f"{address}/{width}", strict=False))
    assert opens([address], literal, 80) == [address]
    assert opens([network], literal, 80) == [address]
    assert opens(["db.internal"], "db.internal", 80, address) == [address]
    assert opens(["db.internal:80"], "db.internal", 80, address) == [address]
    assert opens(["*.internal"], "db.internal", 80, address) == []
    assert opens(["*.internal", network], "db.internal", 80, address) == [address]
    assert opens(["*"], literal, 80) == []


def test_loopback_opens_only_by_address_and_port() -> None:
    assert opens(["127.0.0.1:8080"], "127.0.0.1", 8080) == ["127.0.0.1"]
    assert opens(["127.0.0.1:8080"], "127.0.0.1", 8081) == []
    assert opens(["127.0.0.1:8080"], "127.0.0.2", 8080) == []
    assert opens(["[::1]:8080"], "[::1]", 8080) == ["::1"]
    assert opens(["localhost:8080"], "localhost", 8080, "127.0.0.1", "::1") == ["127.0.0.1", "::1"]
    assert opens(["localhost:8080"], "localhost", 8081, "127.0.0.1") == []
    assert opens(["0.0.0.0/0"], "127.0.0.1", 8080) == []
    assert opens(["name.example:8080"], "name.example", 8080, "127.0.0.1") == []


@pytest.mark.parametrize(
    "entry", ["127.0.0.1", "127.0.0.0/8", "127.0.0.0/8:80", "::1", "[::1]", "localhost"]
)
def test_an_entry_that_would_open_loopback_broadly_is_no_entry(entry: str) -> None:
    with pytest.raises(InputError, match="port by port"):
        EgressPolicy([entry])


def test_the_machines_own_addresses_stay_closed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((PUBLIC, 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        own = probe.getsockname()[0]
    assert is_own(ipaddress.ip_address(own))
    assert opens([own, "0.0.0.0/0", "me.example"], own, 80) == []
    assert opens([own, "me.example"], "me.example", 80, own) == []
    assert not is_own(ipaddress.ip_address(PUBLIC))


@pytest.mark.parametrize(
    ("entry", "host", "port", "is_open"),
    [
        ("example.com", "example.com", 443, True),
        ("example.com", "EXAMPLE.com.", 80, True),
        ("Example.COM", "example.com", 80, True),
        ("example.com", "www.example.com", 443, False),
        ("example.com", "example.com.evil.test", 443, False),
        ("example.com", "notexample.com", 443, False),
        ("*.example.com", "www.example.com", 443, True),
        ("*.example.com", "a.b.example.com", 443, True),
        ("*.example.com", "example.com", 443, False),
        ("*.example.com", "evilexample.com", 443, False),
        ("example.com:443", "example.com", 443, True),
        ("example.com:443", "example.com", 80, False),
        ("*.example.com:443", "www.example.com", 8443, False),
        ("bücher.example", "xn--bcher-kva.example", 443, True),
        ("*", "anything.test", 1, True),
        ("*:443", "anything.test", 443, True),
        ("*:443", "anything.test", 80, False),
        (f"{PUBLIC}/32", "example.com", 80, False),
    ],
)
def test_entries_match_what_they_say(entry: str, host: str, port: int, is_open: bool) -> None:
    assert opens([entry], host, port, PUBLIC) == ([PUBLIC] if is_open else [])


def test_an_empty_list_opens_nothing() -> None:
    assert opens([], "example.com", 443, PUBLIC) == []
    assert opens([], PUBLIC, 443) == []


def test_of_several_addresses_only_the_open_ones_are_used() -> None:
    assert opens(None, "x.example", 80, "127.0.0.1", PUBLIC, "10.0.0.1") == [PUBLIC]


@pytest.mark.parametrize(
    "entry",
    [
        *("", "http://example.com", "example.com:0", "example.com:99999", "exa mple.com"),
        *(
            "*example.com",
            "*.*.com",
            "*.1.2.3.4",
            "10.0.0.0/33",
            "[::1",
            "a:b:c",
            "-a.com",
            "1.2.3",
        ),
        *("1.2.3", "10.0.0.1/8", "example.com/path", "example.com:80x", "*.", "x" * 64 + ".com"),
    ],
)
def test_an_entry_that_is_none_is_refused_by_name(entry: str) -> None:
    with pytest.raises(InputError, match="allowed_hosts") as raised:
        EgressPolicy([entry])
    assert raised.value.hint


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "a..b", "127.1", "0x7f.0.0.1", "2130706433", "0177.0.0.1", "0x7f000001"),
        *("1.2.3.4.5", "256.1.1.1", "a.0x1", "::1", "[::1%lo", "[fe80::1%eth0]x", "a b", "a/b"),
        *(
            "user@host",
            "host\n",
            "ho\0st",
            "-a.test",
            "a" * 64,
            "a." * 130,
            "é.test",
            "[127.0.0.1]",
        ),
    ],
)
def test_a_host_that_two_programs_could_read_differently_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_host(text)


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "+80", " 80", "8_0", "٨٠", "999999"])
def test_a_port_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="port"):
        parse_port(text)
