"""Parcels under way between the cities. The shop's orders are shipped as parcels, too."""

from __future__ import annotations

import random
from typing import Annotated, Any, Literal, TypedDict

from .shared import CITIES, STATE, Amount, City, Currency, Day, Look, NotFound, Person, next_number, number, one

Parcel = Annotated[str, "parcel"]
Order = Annotated[str, "order"]


class Postage(TypedDict):
    postage: Amount
    currency: Currency


class Sent(TypedDict):
    parcel: Parcel
    postage: Amount
    currency: Currency


class ParcelFound(TypedDict):
    status: str
    location: City
    destination: City
    recipient: Person
    delivery_day: Day


class Redirected(TypedDict):
    previous_destination: City
    delivery_day: Day


class Shipped(TypedDict):
    parcel: Parcel
    delivery_day: Day


def fill(state: dict[str, Any], rng: random.Random) -> None:
    """A post office in every city, and sixteen parcels."""
    state["parcels"] = {}
    state["post_offices"] = {
        city: {"rate": rng.randrange(4, 20) + 0.5, "delivery_day": rng.choice(state["days"])} for city in CITIES
    }
    for _ in range(16):
        location, destination = rng.sample(state["cities"], 2)
        state["parcels"][number("PC", rng)] = {
            "location": location, "destination": destination, "recipient": rng.choice(state["persons"]),
            "status": rng.choice(("in transit", "at customs", "out for delivery")),
        }  # fmt: skip


def _send(location: str, destination: str, recipient: str) -> str:
    name = next_number("PC")
    STATE["parcels"][name] = {
        "location": location, "destination": destination, "recipient": recipient, "status": "accepted",
    }  # fmt: skip
    return name


def get_postage(origin: City, destination: City, speed: Literal["standard", "express"] = "standard") -> Postage:
    """Work out what it costs to send a parcel from one city to another.

    Args:
        origin: city from which the parcel is sent.
        destination: city to which the parcel is sent.
        speed: express parcels cost twice as much as standard ones.
    """
    price = one("post_offices", origin)["rate"] + one("post_offices", destination)["rate"]
    return {"postage": 2 * price if speed == "express" else price, "currency": CITIES[origin]}


def send_parcel(recipient: Person, origin: City, destination: City) -> Sent:
    """Send a standard parcel to somebody.

    Args:
        recipient: full name of the person who gets the parcel.
        origin: city from which the parcel is sent.
        destination: city to which the parcel is sent.
    """
    cost = get_postage(origin, destination)
    return {"parcel": _send(origin, destination, recipient), "postage": cost["postage"], "currency": cost["currency"]}


def track_parcel(parcel: Parcel) -> ParcelFound:
    """Look up a parcel: where it is, where it goes, for whom, and when it arrives.

    Args:
        parcel: parcel number, such as PC1234.
    """
    row = one("parcels", parcel)
    return {
        "status": row["status"], "location": row["location"], "destination": row["destination"],
        "recipient": row["recipient"], "delivery_day": one("post_offices", row["destination"])["delivery_day"],
    }  # fmt: skip


def redirect_parcel(parcel: Parcel, city: City) -> Redirected:
    """Have a parcel delivered to another city than planned.

    Args:
        parcel: parcel number, such as PC1234.
        city: new destination of the parcel.
    """
    row, day = one("parcels", parcel), one("post_offices", city)["delivery_day"]
    if row["destination"] == city:
        raise NotFound(f"parcel {parcel} is already going to {city}")
    previous, row["destination"] = row["destination"], city
    return {"previous_destination": previous, "delivery_day": day}


def ship_order(order: Order) -> Shipped:
    """Hand an order of the shop to the post, as a parcel to the order's customer and city.

    Args:
        order: order number, such as OR1234.
    """
    row = one("orders", order)
    if row["status"] in ("shipped", "cancelled"):
        raise NotFound(f"order {order} has already been {row['status']}")
    day = one("post_offices", row["city"])["delivery_day"]
    row["status"] = "shipped"
    parcel = _send(one("products", row["product"])["warehouse"], row["city"], row["customer"])
    return {"parcel": parcel, "delivery_day": day}


TOOLS = (get_postage, send_parcel, track_parcel, redirect_parcel, ship_order)
GIVEN = {"parcel": "parcels"}
NAMED = {"parcel": "[parcel|parcel number|the parcel] {}"}
ASK = {
    "get_postage": (
        "[work out|calculate|look up] the {speed} postage for a parcel from {origin} to {destination}",
        "[find out|see|check] what {speed} delivery of a parcel from {origin} to {destination} costs",
        "[check|see] how much a parcel from {origin} to {destination} costs by {speed} [delivery|post]",
    ),
    "send_parcel": (
        "[send|post|mail] a parcel for {recipient} from {origin} to {destination}",
        "have a parcel [posted|mailed] in {origin} for {recipient}, addressed to {destination}",
        "[get|have] a parcel for {recipient} sent from {origin} to {destination}",
    ),
    "track_parcel": (
        "[track|trace] {parcel}",
        "[find out|see|check] where {parcel} is[| now| at the moment]",
        "[look up|check] the [whereabouts|progress] of {parcel}",
    ),
    "redirect_parcel": (
        "[redirect|reroute] {parcel} to {city}",
        "have {parcel} [delivered|sent] to {city} instead",
        "[change|switch|set] the destination of {parcel} to {city}",
    ),
    "ship_order": (
        "[ship|dispatch|send out] {order}",
        "hand {order} to the post",
        "have {order} [shipped|sent out]",
    ),
}
CALLED = {
    "get_postage.postage": ("that postage", "the {speed} postage from {origin} to {destination}"),
    "get_postage.currency": ("the currency of that postage", "the currency of postage from {origin}"),
    "send_parcel.parcel": ("that new parcel", "the new parcel for {recipient}"),
    "send_parcel.postage": ("the postage paid", "the postage paid for the parcel to {recipient}"),
    "send_parcel.currency": (
        "the currency of the postage paid",
        "the currency of the postage paid for the parcel to {recipient}",
    ),
    "track_parcel.location": ("the city where it is now", "the city where {parcel} is now"),
    "track_parcel.destination": ("the city where it is going", "the destination of {parcel}"),
    "track_parcel.recipient": ("the person who gets it", "the recipient of {parcel}"),
    "track_parcel.delivery_day": ("the day it arrives", "the day when {parcel} arrives"),
    "redirect_parcel.previous_destination": (
        "its former destination",
        "the [former|previous|old] destination of {parcel}",
    ),
    "redirect_parcel.delivery_day": ("its new day of delivery", "the new day of delivery of {parcel}"),
    "ship_order.parcel": ("the parcel with that order", "the parcel with {order}"),
    "ship_order.delivery_day": ("the day that order arrives", "the day when {order} arrives"),
}
TELL = {
    "get_postage": (
        "The {speed} postage for a parcel from {origin} to {destination} is {postage} {currency}.",
        "A parcel from {origin} to {destination} costs {postage} {currency} by {speed} [post|delivery].",
        "Sending a parcel from {origin} to {destination} as {speed} post takes {postage} {currency}.",
    ),
    "send_parcel": (
        "A parcel for {recipient} [is on its way|has left|is under way] from {origin} to {destination} as {parcel}, "
        "for {postage} {currency}.",
        "[Parcel|The parcel] {parcel} goes from {origin} to {recipient} in {destination}; the postage is {postage} "
        "{currency}.",
        "{recipient} will get {parcel} in {destination}, sent from {origin} for {postage} {currency}.",
    ),
    "track_parcel": (
        "[Parcel|The parcel] {parcel} for {recipient} is {status} in {location} and arrives in {destination} on "
        "{delivery_day}.",
        "[|Parcel |The parcel ]{parcel} is in {location} ({status}) and will reach {recipient} in {destination} on "
        "{delivery_day}.",
        "The status of [|parcel ]{parcel} is {status}: now in {location}, due in {destination} for {recipient} on "
        "{delivery_day}.",
    ),
    "redirect_parcel": (
        "[Parcel|The parcel] {parcel} now goes to {city} instead of {previous_destination} and [arrives|comes|is "
        "due] on {delivery_day}.",
        "[|Parcel |The parcel ]{parcel} is redirected from {previous_destination} to {city}, with delivery [on|due "
        "on|set for] {delivery_day}.",
        "The destination of [|parcel ]{parcel} is now {city}, no longer {previous_destination}; it comes on "
        "{delivery_day}.",
    ),
    "ship_order": (
        "[Order|The order] {order} is shipped as {parcel} and [arrives|comes|is due] on {delivery_day}.",
        "[|Order |The order ]{order} [is on its way|has left|is under way] as [|the ]parcel {parcel}, with delivery "
        "[on|due on|set for] {delivery_day}.",
        "[Parcel|The parcel] {parcel} with {order} will arrive on {delivery_day}.",
    ),
}
TESTS = {
    "get_postage": (("postage", "<", (20.0, 25.0, 35.0), "the postage is below {}"),),
    "track_parcel": (("status", "==", ("in transit", "at customs", "out for delivery"), "it is {}"),),
}
CHANGES: dict[str, Look | None] = {
    "send_parcel": None,
    "redirect_parcel": (
        "track_parcel",
        {"parcel": "parcel"},
        "parcel {parcel} {is} still on its way to {destination}",
    ),
    "ship_order": ("get_order", {"order": "order"}, "order {order} {is} still {status}"),
}
