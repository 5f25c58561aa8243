"""Alerts go out, never in: no private address, whoever names it, and no other than was checked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from app.services.alerts.channel import TransportError
from app.services.alerts.outbound import Outbound
from tests.alerts.receivers import Answer, HttpReceiver, running_http, running_mail
from tests.fakes.clock import FakeClock

INSIDE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fd12:3456::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::1",
]
NEVER = [
    "0.0.0.0",
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "fd00:ec2::254",
    "168.63.129.16",
    "100.100.100.200",
    "fe80::1",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "::",
    "fec0::1",
    "::7f00:1",
    "2001:db8::1",
]
OUTSIDE = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808"]


@dataclass
class Names:
    """A name server: what it answers, one after the other, and how often it was asked."""

    answers: list[Sequence[str]]
    asked: list[str] = field(default_factory=list)

    async def resolve(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


def outbound(*answers: Sequence[str], allow_private: bool = False) -> Outbound:
    return Outbound(FakeClock(), allow_private, Names(list(answers)).resolve)


def refusal_of(way: Outbound, url: str) -> TransportError:
    with pytest.raises(TransportError) as caught:
        asyncio.run(way.post(url, b"{}", {}))
    return caught.value


async def peer(way: Outbound, port: int) -> str:
    """Return the address that a mail server was found at."""
    with await way.connect("mail.empresa.test", port) as connection:
        greeting = await asyncio.get_running_loop().sock_recv(connection, 3)
        assert greeting == b"220"
        return str(connection.getpeername()[0])


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with running_http() as receiver:
        yield receiver


@pytest.mark.parametrize("address", INSIDE + NEVER)
def test_name_of_an_address_inside_is_refused_for_good(address: str) -> None:
    error = refusal_of(outbound([address]), "http://hooks.empresa.test:9/")

    assert (error.code, error.permanent) == ("private_address", True)


@pytest.mark.parametrize("address", NEVER)
def test_address_that_is_never_meant_is_refused_although_private_ones_are_allowed(
    address: str,
) -> None:
    error = refusal_of(outbound([address], allow_private=True), "http://hooks.empresa.test:9/")

    assert error.code == "private_address"


@pytest.mark.parametrize("address", OUTSIDE)
def test_address_outside_is_good(address: str) -> None:
    way = outbound([address])

    assert asyncio.run(way.addresses("hooks.empresa.test", 443)) == [address]


@pytest.mark.parametrize("address", INSIDE)
def test_address_inside_is_good_where_that_is_allowed(address: str) -> None:
    way = outbound([address], allow_private=True)

    assert asyncio.run(way.addresses("hooks.empresa.test", 443)) == [address]


def test_name_with_one_address_inside_is_refused(receiver: HttpReceiver) -> None:
    way = outbound(["1.1.1.1", "127.0.0.1"])

    error = refusal_of(way, f"http://hooks.empresa.test:{receiver.port}/")

    assert error.code == "private_address"
    assert receiver.received == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::1]", "localhost", "[::ffff:7f00:1]"],
)
def test_literal_is_refused_as_its_address_is(receiver: HttpReceiver, host: str) -> None:
    way = Outbound(FakeClock())

    error = refusal_of(way, f"http://{host}:{receiver.port}/")

    assert (error.code, receiver.received) == ("private_address", [])


def test_connection_goes_to_the_address_that_was_checked(receiver: HttpReceiver) -> None:
    """A name that is another address by the time of the connection changes nothing."""
    names = Names([["127.0.0.1"], ["127.0.0.2"]])
    way = Outbound(FakeClock(), allow_private=True, resolve=names.resolve)

    asyncio.run(way.post(f"http://rebinding.empresa.test:{receiver.port}/", b"{}", {}))

    assert names.asked == ["rebinding.empresa.test"]
    assert receiver.received[0].headers["Host"] == f"rebinding.empresa.test:{receiver.port}"


def test_mail_server_inside_is_refused() -> None:
    way = outbound(["10.0.0.1"])

    with pytest.raises(TransportError) as caught:
        asyncio.run(way.connect("mail.empresa.test", 25))

    assert (caught.value.code, caught.value.permanent) == ("private_address", True)


def test_mail_connection_goes_to_the_address_that_was_checked() -> None:
    names = Names([["127.0.0.1"], ["127.0.0.2"]])
    way = Outbound(FakeClock(), allow_private=True, resolve=names.resolve)

    with running_mail() as mail:
        assert asyncio.run(peer(way, mail.port)) == "127.0.0.1"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(receiver: HttpReceiver, status: int) -> None:
    receiver.answers.append(Answer(status, "", {"Location": f"{receiver.url}/inside"}))

    error = refusal_of(Outbound(FakeClock(), allow_private=True), f"{receiver.url}/hook")

    assert (error.code, error.permanent) == (f"http_{status}", True)
    assert [it.path for it in receiver.received] == ["/hook"]


def test_name_that_is_not_known_is_tried_again() -> None:
    error = refusal_of(Outbound(FakeClock()), "http://no-such-host.invalid/")

    assert (error.code, error.permanent) == ("dns", False)


def test_second_address_is_tried_where_the_first_does_not_answer() -> None:
    with running_mail() as mail:
        names = Names([["127.0.0.2", "127.0.0.1"]])
        way = Outbound(FakeClock(), allow_private=True, resolve=names.resolve)

        assert asyncio.run(peer(way, mail.port)) == "127.0.0.1"
