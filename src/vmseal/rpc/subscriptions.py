"""Who listens to which destination, over all connections of the server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vmseal.rpc.connection import Connection
from vmseal.rpc.stomp import Command, Frame

SUBSCRIPTION_LIMIT = 1000  # of one connection; real clients have one or two


class SubscriptionRefusedError(ValueError):
    """The text goes to the client in an ERROR frame."""


@dataclass(frozen=True)
class Subscription:
    """A connection's wish for the messages of a destination; the id is the client's."""

    connection: Connection
    id: str
    destination: str

    def deliver(self, body: bytes, headers: dict[str, str]) -> None:
        """Send a MESSAGE; ``subscription`` is added to the headers."""
        self.connection.send(Frame(Command.MESSAGE, headers | {"subscription": self.id}, body))


class Subscriptions:
    """The table of all subscriptions."""

    def __init__(self) -> None:
        self._table: dict[Connection, dict[str, Subscription]] = {}

    def add(self, subscription: Subscription) -> None:
        """Add a subscription. Raises SubscriptionRefusedError when the id is in use, or there are too many."""
        own = self._table.setdefault(subscription.connection, {})
        if subscription.id in own:
            raise SubscriptionRefusedError(f"subscription id {subscription.id!r} is in use on this connection")
        if len(own) >= SUBSCRIPTION_LIMIT:
            raise SubscriptionRefusedError(
                f"a connection can have {SUBSCRIPTION_LIMIT} subscriptions; unsubscribe some"
            )
        own[subscription.id] = subscription

    def remove(self, connection: Connection, identity: str) -> None:
        """Forget one subscription; nothing happens when there is none of that id."""
        self._table.get(connection, {}).pop(identity, None)

    def remove_all(self, connection: Connection) -> None:
        """Forget a connection."""
        self._table.pop(connection, None)

    def of(self, destination: str) -> list[Subscription]:
        """Return the subscriptions of exactly this destination."""
        return [item for item in self._all() if item.destination == destination]

    def above(self, destination: str) -> list[Subscription]:
        """Return the subscriptions of this destination and of each dot-separated prefix of it."""
        return [item for item in self._all() if is_below(destination, item.destination)]

    def _all(self) -> Iterator[Subscription]:
        for own in self._table.values():
            yield from own.values()


def is_below(destination: str, name: str) -> bool:
    """Whether a destination is ``name`` or ``name.<suffix>``."""
    return destination == name or destination.startswith(name + ".")
