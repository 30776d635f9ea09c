"""Parcels under way between the cities. The shop's orders are shipped as parcels, too."""

import random
from typing import Annotated, Any, Literal, TypedDict

from .shared import CITIES, STATE, Amount, City, Currency, Day, NotFound, Person, next_number, number, one

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
