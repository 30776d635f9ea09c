"""Flights and hotels between a dozen cities."""

import random
from typing import Annotated, Any, TypedDict

from .shared import CITIES, DAYS, STATE, Amount, City, Currency, Day, NotFound, Person, next_number, number, one, pick

Flight = Annotated[str, "flight"]
Hotel = Annotated[str, "hotel"]
Booking = Annotated[str, "booking"]


class FlightFound(TypedDict):
    flight: Flight
    departure_time: str
    price: Amount
    currency: Currency


class FlightStatus(TypedDict):
    status: str
    gate: str
    delay_minutes: int


class Booked(TypedDict):
    booking: Booking
    price: Amount
    currency: Currency


class BookingFound(TypedDict):
    flight: Flight
    passenger: Person
    origin: City
    destination: City
    day: Day


class HotelFound(TypedDict):
    hotel: Hotel
    stars: int
    price_per_night: Amount
    currency: Currency


def fill(state: dict[str, Any], rng: random.Random) -> None:
    """Eighty flights, a hotel or two a city, a few bookings."""
    cities = list(CITIES)
    state["flights"], state["hotels"], state["bookings"] = {}, {}, {}
    for _ in range(80):
        origin, destination = rng.sample(cities, 2)
        status = rng.choice(("on time", "on time", "delayed", "boarding"))
        state["flights"][number("HW", rng)] = {
            "origin": origin, "destination": destination, "day": rng.choice(DAYS),
            "departure_time": f"{rng.randrange(5, 23):02d}:{rng.choice((5, 20, 35, 50)):02d}",
            "price": float(rng.randrange(60, 900)), "currency": CITIES[origin], "status": status,
            "gate": f"{rng.choice('ABC')}{rng.randrange(1, 30)}",
            "delay_minutes": rng.randrange(10, 180, 5) if status == "delayed" else 0,
        }  # fmt: skip
    houses = [f"{a} {b}" for a in ("Grand", "Old", "Garden", "Harbour", "Royal") for b in ("Inn", "House", "Rooms")]
    for place in range(18):
        city = cities[place % len(cities)]
        state["hotels"][f"{rng.choice(houses)} {city}"] = {
            "city": city, "stars": rng.randrange(2, 6), "price_per_night": float(rng.randrange(40, 320)),
            "currency": CITIES[city],
        }  # fmt: skip
    for flight in rng.sample(sorted(state["flights"]), 12):
        state["bookings"][number("BK", rng)] = {"flight": flight, "passenger": rng.choice(state["persons"])}


def search_flight(origin: City, destination: City) -> FlightFound:
    """Find the cheapest flight from one city to another.

    Args:
        origin: name of the city of departure.
        destination: name of the city of arrival.
    """
    matches = [
        (flight["price"], name)
        for name, flight in STATE["flights"].items()
        if (flight["origin"], flight["destination"]) == (origin, destination)
    ]
    if not matches:
        raise NotFound(f"there is no flight from {origin} to {destination}")
    name = min(matches)[1]
    flight = STATE["flights"][name]
    return {"flight": name} | pick(flight, "departure_time", "price", "currency")


def get_flight_status(flight: Flight) -> FlightStatus:
    """Look up whether a flight is on time, and its gate.

    Args:
        flight: flight number, such as HW1234.
    """
    return pick(one("flights", flight), "status", "gate", "delay_minutes")


def book_flight(flight: Flight, passenger: Person) -> Booked:
    """Book a seat on a flight for a passenger.

    Args:
        flight: flight number, such as HW1234.
        passenger: full name of the passenger.
    """
    row = one("flights", flight)
    name = next_number("BK")
    STATE["bookings"][name] = {"flight": flight, "passenger": passenger}
    return {"booking": name, "price": row["price"], "currency": row["currency"]}


def get_booking(booking: Booking) -> BookingFound:
    """Look up a booking: its flight, passenger and route.

    Args:
        booking: booking number, such as BK1234.
    """
    row = one("bookings", booking)
    flight = STATE["flights"][row["flight"]]
    return {"flight": row["flight"], "passenger": row["passenger"]} | pick(flight, "origin", "destination", "day")


def search_hotel(city: City) -> HotelFound:
    """Find the hotel with the most stars in a city.

    Args:
        city: name of the city.
    """
    matches = [(-hotel["stars"], name) for name, hotel in STATE["hotels"].items() if hotel["city"] == city]
    if not matches:
        raise NotFound(f"there is no hotel in {city}")
    name = min(matches)[1]
    hotel = STATE["hotels"][name]
    return {"hotel": name} | pick(hotel, "stars", "price_per_night", "currency")


TOOLS = (search_flight, get_flight_status, book_flight, get_booking, search_hotel)
GIVEN = {"flight": "flights", "booking": "bookings"}
