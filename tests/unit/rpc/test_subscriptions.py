"""Which subscriptions a message goes to."""

from __future__ import annotations

from typing import cast

import pytest

from vmseal.rpc.connection import Connection
from vmseal.rpc.stomp import Command, Frame
from vmseal.rpc.subscriptions import SUBSCRIPTION_LIMIT, Subscription, SubscriptionRefusedError, Subscriptions


class Listener:
    """A connection that keeps what is sent to it."""

    def __init__(self) -> None:
        self.sent: list[Frame] = []

    def send(self, frame: Frame) -> None:
        self.sent.append(frame)


def listener() -> Connection:
    return cast("Connection", Listener())


def names(found: list[Subscription]) -> list[str]:
    return [item.id for item in found]


def test_exact_and_prefix_rule() -> None:
    table, one, two = Subscriptions(), listener(), listener()
    table.add(Subscription(one, "a.b", "a.b"))
    table.add(Subscription(one, "a", "a"))
    table.add(Subscription(two, "a.bc", "a.bc"))
    assert names(table.of("a.b")) == ["a.b"]
    assert names(table.above("a.b.c")) == ["a.b", "a"]
    assert names(table.above("a.bc")) == ["a", "a.bc"]
    assert names(table.of("a.b.c")) == []


def test_an_id_is_used_once_per_connection() -> None:
    table, one, two = Subscriptions(), listener(), listener()
    table.add(Subscription(one, "1", "a"))
    table.add(Subscription(two, "1", "a"))
    with pytest.raises(SubscriptionRefusedError, match="in use"):
        table.add(Subscription(one, "1", "b"))
    table.remove(one, "1")
    table.remove(one, "1")
    table.add(Subscription(one, "1", "b"))
    assert len(table.of("a")) == 1


def test_a_connection_that_is_gone_gets_nothing() -> None:
    table, one = Subscriptions(), listener()
    table.add(Subscription(one, "1", "a"))
    table.remove_all(one)
    table.remove_all(one)
    assert table.above("a") == []


def test_subscriptions_of_a_connection_are_limited() -> None:
    table, one = Subscriptions(), listener()
    for number in range(SUBSCRIPTION_LIMIT):
        table.add(Subscription(one, str(number), "a"))
    with pytest.raises(SubscriptionRefusedError, match="unsubscribe"):
        table.add(Subscription(one, "more", "a"))


def test_a_message_says_which_subscription_it_is_for() -> None:
    fake = Listener()
    Subscription(cast("Connection", fake), "7", "a").deliver(b"{}", {"destination": "a"})
    assert fake.sent == [Frame(Command.MESSAGE, {"destination": "a", "subscription": "7"}, b"{}")]
