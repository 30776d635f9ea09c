"""Restaurants and their tables."""

from __future__ import annotations

import random
from typing import Annotated, Any, TypedDict

from .shared import CITIES, STATE, Amount, City, Currency, Day, Look, NotFound, Person, next_number, number, one

Cuisine = Annotated[str, "cuisine"]
Restaurant = Annotated[str, "restaurant"]
Reservation = Annotated[str, "reservation"]
CUISINES = ("Italian", "Indian", "Mexican", "Thai", "Lebanese")
TIMES = ("18:30", "19:00", "19:30", "20:00", "20:30")


class RestaurantFound(TypedDict):
    restaurant: Restaurant
    rating: float


class RestaurantDetails(TypedDict):
    city: City
    cuisine: Cuisine
    menu_price: Amount
    currency: Currency


class Reserved(TypedDict):
    reservation: Reservation
    time: str


class ReservationFound(TypedDict):
    restaurant: Restaurant
    guest: Person
    day: Day
    time: str
    status: str


class Cancelled(TypedDict):
    fee: Amount
    currency: Currency


def fill(state: dict[str, Any], rng: random.Random) -> None:
    """Three or so cuisines a city, and a dozen reservations."""
    state["restaurants"], state["reservations"] = {}, {}
    names = [f"{a} {b}" for a in ("Blue", "Little", "Old", "Red", "Wild") for b in ("Olive", "Lemon", "Fig", "Basil",
             "Table", "Spoon", "Kitchen", "Corner", "Lantern")]  # fmt: skip
    places = [(city, cuisine) for city in CITIES for cuisine in CUISINES]
    for name, (city, cuisine) in zip(rng.sample(names, 40), rng.sample(places, 40), strict=True):
        state["restaurants"][name] = {
            "city": city, "cuisine": cuisine, "menu_price": rng.randrange(15, 95) + 0.5, "currency": CITIES[city],
            "rating": rng.randrange(25, 51) / 10,
        }  # fmt: skip
    for restaurant in rng.sample(sorted(state["restaurants"]), 12):
        state["reservations"][number("RS", rng)] = {
            "restaurant": restaurant, "guest": rng.choice(state["persons"]), "day": rng.choice(state["days"]),
            "time": rng.choice(TIMES), "status": "confirmed",
        }  # fmt: skip


def find_restaurant(city: City, cuisine: Cuisine) -> RestaurantFound:
    """Find the restaurant with the best rating for a cuisine in a city.

    Args:
        city: name of the city.
        cuisine: kind of food, such as Italian.
    """
    found = [
        (row["rating"], name)
        for name, row in STATE["restaurants"].items()
        if (row["city"], row["cuisine"]) == (city, cuisine)
    ]
    if not found:
        raise NotFound(f"there is no restaurant with {cuisine} food in {city}")
    rating, name = max(found)
    return {"restaurant": name, "rating": rating}


def get_restaurant(restaurant: Restaurant) -> RestaurantDetails:
    """Look up a restaurant: its city, its cuisine and the price of its menu.

    Args:
        restaurant: name of the restaurant.
    """
    row = one("restaurants", restaurant)
    return {
        "city": row["city"], "cuisine": row["cuisine"], "menu_price": row["menu_price"], "currency": row["currency"],
    }  # fmt: skip


def reserve_table(restaurant: Restaurant, guest: Person, day: Day) -> Reserved:
    """Reserve the first free table of an evening at a restaurant.

    Args:
        restaurant: name of the restaurant.
        guest: full name of the guest.
        day: date of the visit, such as 2026-03-02.
    """
    one("restaurants", restaurant)
    taken = {
        row["time"]
        for row in STATE["reservations"].values()
        if (row["restaurant"], row["day"], row["status"]) == (restaurant, day, "confirmed")
    }
    free = [time for time in TIMES if time not in taken]
    if not free:
        raise NotFound(f"{restaurant} has no free table on {day}")
    name = next_number("RS")
    STATE["reservations"][name] = {
        "restaurant": restaurant, "guest": guest, "day": day, "time": free[0], "status": "confirmed",
    }  # fmt: skip
    return {"reservation": name, "time": free[0]}


def get_reservation(reservation: Reservation) -> ReservationFound:
    """Look up a reservation of a table: where, for whom, when, and whether it stands.

    Args:
        reservation: reservation number, such as RS1234.
    """
    row = one("reservations", reservation)
    return {
        "restaurant": row["restaurant"], "guest": row["guest"], "day": row["day"], "time": row["time"],
        "status": row["status"],
    }  # fmt: skip


def cancel_reservation(reservation: Reservation) -> Cancelled:
    """Give up a reserved table, for a fee.

    Args:
        reservation: reservation number, such as RS1234.
    """
    row = one("reservations", reservation)
    if row["status"] == "cancelled":
        raise NotFound(f"reservation {reservation} has already been cancelled")
    row["status"] = "cancelled"
    restaurant = one("restaurants", row["restaurant"])
    return {"fee": round(restaurant["menu_price"] / 5, 2), "currency": restaurant["currency"]}


TOOLS = (find_restaurant, get_restaurant, reserve_table, get_reservation, cancel_reservation)
GIVEN = {"cuisine": CUISINES, "restaurant": "restaurants", "reservation": "reservations"}
NAMED = {
    "cuisine": "{} food",
    "restaurant": "the restaurant {}",
    "reservation": "[reservation|reservation number|the reservation] {}",
}
ASK = {
    "find_restaurant": (
        "[find|look for] the [best|highest|top] rated restaurant for {cuisine} in {city}",
        "[find out|see|check] which restaurant in {city} is rated [highest|best] for {cuisine}",
        "[find|look for] the restaurant with the best rating for {cuisine} in {city}",
    ),
    "get_restaurant": (
        "[look up|check] {restaurant}",
        "check the city, cuisine and menu price of {restaurant}",
        "[find out|see|check] where {restaurant} is and what its menu costs",
        "[get|look up] the [details|particulars|data] of {restaurant}",
    ),
    "reserve_table": (
        "[reserve|book] a table at {restaurant} for {guest} on {day}",
        "get {guest} a table at {restaurant} on {day}",
        "[reserve|book] {guest} a table at {restaurant} for {day}",
    ),
    "get_reservation": (
        "[look up|pull up] {reservation}",
        "[check|see|find out] whether {reservation} [is confirmed|stands|is valid]",
        "[check|look up] the [details|status|state] of {reservation}",
    ),
    "cancel_reservation": (
        "[cancel|call off] {reservation}",
        "give up the table of {reservation}",
        "have {reservation} cancelled",
    ),
}
CALLED = {
    "find_restaurant.restaurant": (
        "that restaurant",
        "the [best|highest|top] rated restaurant for {cuisine} in {city}",
    ),
    "get_restaurant.city": ("the city of that restaurant", "the city where {restaurant} is"),
    "get_restaurant.cuisine": ("its cuisine", "the cuisine of {restaurant}"),
    "get_restaurant.menu_price": ("its menu price", "the menu price at {restaurant}"),
    "get_restaurant.currency": ("the currency of its menu", "the currency of the menu at {restaurant}"),
    "reserve_table.reservation": ("that new reservation", "the new reservation at {restaurant} on {day}"),
    "get_reservation.restaurant": ("the reserved restaurant", "the restaurant of {reservation}"),
    "get_reservation.guest": ("the guest", "the guest of {reservation}"),
    "get_reservation.day": ("the day of that reservation", "the day of {reservation}"),
    "cancel_reservation.fee": ("the fee", "the fee for cancelling {reservation}"),
    "cancel_reservation.currency": ("the currency of the fee", "the currency of the fee for cancelling {reservation}"),
}
TELL = {
    "find_restaurant": (
        "The [best|highest] rated restaurant with {cuisine} food in {city} is {restaurant}, rated {rating}.",
        "For {cuisine} food in {city}, {restaurant} is rated [best|highest], at {rating}.",
        "{restaurant}, rated {rating}, is the best place for {cuisine} food in {city}.",
    ),
    "get_restaurant": (
        "{restaurant} in {city} serves {cuisine} food, with a menu at {menu_price} {currency}.",
        "A menu at {restaurant} in {city} costs {menu_price} {currency}; the food is {cuisine}.",
        "{restaurant} is in {city}; it offers {cuisine} food and a menu for {menu_price} {currency}.",
    ),
    "reserve_table": (
        "A table at {restaurant} is reserved for {guest} on {day} at {time} as {reservation}.",
        "{guest} has a table at {restaurant} on {day} at {time}, [|the ]reservation {reservation}.",
        "[Reservation|The reservation] {reservation} is made: {restaurant}, {day} at {time}, for {guest}.",
    ),
    "get_reservation": (
        "[Reservation|The reservation] {reservation} at {restaurant} for {guest} on {day} at {time} is {status}.",
        "The table of {guest} at {restaurant} on {day} at {time}, {reservation}, is {status}.",
        "[|Reservation |The reservation ]{reservation} is {status}: {restaurant}, {day} at {time}, for {guest}.",
    ),
    "cancel_reservation": (
        "[Reservation|The reservation] {reservation} is cancelled, for a fee of {fee} {currency}.",
        "[|Reservation |The reservation ]{reservation} has been called off; the fee is {fee} {currency}.",
        "Cancelling {reservation} cost {fee} {currency}.",
    ),
}
TESTS = {
    "find_restaurant": (("rating", ">", (3.5, 4.0, 4.5), "it is rated above {}"),),
    "get_restaurant": (
        ("menu_price", "<", (30.0, 50.0, 70.0), "the menu costs less than {}"),
        ("cuisine", "==", CUISINES, "it serves {} food"),
    ),
    "cancel_reservation": (("fee", ">", (5.0, 10.0, 15.0), "the fee is above {}"),),
}
CHANGES: dict[str, Look | None] = {
    "reserve_table": None,
    "cancel_reservation": (
        "get_reservation",
        {"reservation": "reservation"},
        "reservation {reservation} {is} still {status}",
    ),
}
