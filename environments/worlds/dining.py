"""Restaurants and their tables."""

import random
from typing import Annotated, Any, TypedDict

from .shared import CITIES, STATE, Amount, City, Currency, Day, NotFound, Person, next_number, number, one, pick

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
    matches = [
        (row["rating"], name)
        for name, row in STATE["restaurants"].items()
        if (row["city"], row["cuisine"]) == (city, cuisine)
    ]
    if not matches:
        raise NotFound(f"there is no restaurant with {cuisine} food in {city}")
    rating, name = max(matches)
    return {"restaurant": name, "rating": rating}


def get_restaurant(restaurant: Restaurant) -> RestaurantDetails:
    """Look up a restaurant: its city, its cuisine and the price of its menu.

    Args:
        restaurant: name of the restaurant.
    """
    return pick(one("restaurants", restaurant), "city", "cuisine", "menu_price", "currency")


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
    return pick(one("reservations", reservation), "restaurant", "guest", "day", "time", "status")


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
