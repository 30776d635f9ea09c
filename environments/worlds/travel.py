"""Flights and hotels between a dozen cities."""

from __future__ import annotations

import random
from typing import Annotated, Any, TypedDict

from .shared import CITIES, DAYS, STATE, Amount, City, Currency, Day, Look, NotFound, Person, next_number, number, one

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
    found = [
        (flight["price"], name)
        for name, flight in STATE["flights"].items()
        if (flight["origin"], flight["destination"]) == (origin, destination)
    ]
    if not found:
        raise NotFound(f"there is no flight from {origin} to {destination}")
    name = min(found)[1]
    flight = STATE["flights"][name]
    return {
        "flight": name, "departure_time": flight["departure_time"], "price": flight["price"],
        "currency": flight["currency"],
    }  # fmt: skip


def get_flight_status(flight: Flight) -> FlightStatus:
    """Look up whether a flight is on time, and its gate.

    Args:
        flight: flight number, such as HW1234.
    """
    row = one("flights", flight)
    return {"status": row["status"], "gate": row["gate"], "delay_minutes": row["delay_minutes"]}


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
    return {
        "flight": row["flight"], "passenger": row["passenger"], "origin": flight["origin"],
        "destination": flight["destination"], "day": flight["day"],
    }  # fmt: skip


def search_hotel(city: City) -> HotelFound:
    """Find the hotel with the most stars in a city.

    Args:
        city: name of the city.
    """
    found = [(-hotel["stars"], name) for name, hotel in STATE["hotels"].items() if hotel["city"] == city]
    if not found:
        raise NotFound(f"there is no hotel in {city}")
    name = min(found)[1]
    hotel = STATE["hotels"][name]
    return {
        "hotel": name, "stars": hotel["stars"], "price_per_night": hotel["price_per_night"],
        "currency": hotel["currency"],
    }  # fmt: skip


TOOLS = (search_flight, get_flight_status, book_flight, get_booking, search_hotel)
GIVEN = {"flight": "flights", "booking": "bookings"}
NAMED = {"flight": "[flight|flight number|the flight] {}", "booking": "[booking|booking number|the booking] {}"}
ASK = {
    "search_flight": (
        "[find|look for|search for] the [cheapest|least expensive|lowest-priced] flight from {origin} to "
        "{destination}",
        "[find out|see|check] which flight from {origin} to {destination} [is cheapest|costs least|has the lowest "
        "fare]",
    ),
    "get_flight_status": (
        "[check|find out|see] whether {flight} is [on time|running on time|late]",
        "[look up|check] the [|current ]status of {flight}",
        "[check|see|find out] how {flight} is [doing|running]",
    ),
    "book_flight": (
        "[book|reserve] a [seat|place] on {flight} for {passenger}",
        "book {flight} for {passenger}",
        "[get|buy] {passenger} a [seat|ticket] on {flight}",
    ),
    "get_booking": (
        "[look up|pull up|check] {booking}",
        "[open|pull up|look up] the [record|details] of {booking}",
        "[find out|see] whom {booking} is for and [where the trip goes|what its route is|between which cities]",
    ),
    "search_hotel": (
        "[find|look for|search for] the [best hotel|hotel with the most stars|hotel with the highest star rating] "
        "in {city}",
        "[find out|see|check] which hotel in {city} has the [most stars|highest star rating|best star rating]",
    ),
}
CALLED = {
    "search_flight.flight": (
        "that flight",
        "the [cheapest|least expensive|lowest-priced] flight from {origin} to {destination}",
    ),
    "search_flight.price": (
        "its price",
        "the price of the [cheapest|least expensive|lowest-priced] flight from {origin} to {destination}",
    ),
    "search_flight.currency": ("its currency", "the currency of the fare from {origin} to {destination}"),
    "book_flight.booking": ("that booking", "the new booking on {flight}"),
    "book_flight.price": ("the price of that booking", "the price of the seat of {passenger} on {flight}"),
    "book_flight.currency": ("the currency of that price", "the currency of the seat of {passenger} on {flight}"),
    "get_booking.flight": ("the booked flight", "the flight of {booking}"),
    "get_booking.passenger": ("the booked passenger", "the passenger of {booking}"),
    "get_booking.origin": ("the city where that trip begins", "the city of departure of {booking}"),
    "get_booking.destination": ("the city where that trip ends", "the destination of {booking}"),
    "get_booking.day": ("the day of that trip", "the day of travel of {booking}"),
    "search_hotel.price_per_night": (
        "its price for a night",
        "a night's price at the [best hotel|hotel with the most stars] in {city}",
    ),
    "search_hotel.currency": (
        "the currency of its price",
        "the currency of the [best hotel|hotel with the most stars] in {city}",
    ),
}
TELL = {
    "search_flight": (
        "The [cheapest|least expensive] flight from {origin} to {destination} is {flight}, [leaving|departing] at "
        "{departure_time} for {price} {currency}.",
        "[|Flight |The flight ]{flight} is the [cheapest|least expensive] flight from {origin} to {destination}: it "
        "[leaves|departs] at {departure_time} and costs {price} {currency}.",
        "From {origin} to {destination}, [|the ]flight {flight} at {departure_time} is [the cheapest|the best "
        "deal], at {price} {currency}.",
    ),
    "get_flight_status": (
        "[Flight|The flight] {flight} is {status}, gate {gate}, with a delay of {delay_minutes} minutes.",
        "[|Flight |The flight ]{flight} [leaves from|uses|departs from] gate {gate}; its status is {status} and its "
        "delay {delay_minutes} minutes.",
        "The status of [|flight ]{flight} is {status}: gate {gate}, {delay_minutes} minutes behind schedule.",
    ),
    "book_flight": (
        "[Flight|The flight] {flight} is booked for {passenger} as {booking}, at {price} {currency}.",
        "{passenger} now has a [seat|place] on [|flight ]{flight} under [|the ]booking {booking}, for {price} "
        "{currency}.",
        "[Booking|The booking] {booking} puts {passenger} on [|flight ]{flight}; the [price|fare] is {price} "
        "{currency}.",
    ),
    "get_booking": (
        "[Booking|The booking] {booking} is for {passenger} on [|flight ]{flight} from {origin} to {destination} on "
        "{day}.",
        "Under [|the booking ]{booking}, {passenger} [flies|travels] from {origin} to {destination} on {day} with "
        "{flight}.",
        "[|Booking |The booking ]{booking} [covers|holds] a seat for {passenger} on [|flight ]{flight}, {origin} to "
        "{destination}, on {day}.",
    ),
    "search_hotel": (
        "The [best|top|finest] hotel in {city} is {hotel} with {stars} stars, at {price_per_night} "
        "{currency} a night.",
        "{hotel} has the most stars in {city}: {stars}, for {price_per_night} {currency} a night.",
        "In {city} the [top|best] choice is {hotel}, with {stars} stars and {price_per_night} {currency} [a|per] "
        "night.",
    ),
}
# What a user may make a later step depend on: field, comparison, values, words.
TESTS = {
    "get_flight_status": (("delay_minutes", ">", (0, 30, 60), "it is more than {} minutes late"),),
    "search_flight": (("price", "<", (200.0, 400.0, 600.0), "the fare is below {}"),),
    "search_hotel": (("price_per_night", "<", (100.0, 150.0, 200.0), "a night costs less than {}"),),
}
CHANGES: dict[str, Look | None] = {"book_flight": None}
