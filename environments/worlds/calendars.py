"""Everybody's calendar: events in a city on a day."""

import random
from typing import Annotated, Any, TypedDict

from .shared import DAYS, STATE, City, Day, NotFound, Person, next_number, number, one, pick

Event = Annotated[str, "event"]
Occasion = Annotated[str, "occasion"]
OCCASIONS = ("budget review", "design workshop", "project kick-off", "training session", "sales meeting", "team lunch")


class Created(TypedDict):
    event: Event
    start_time: str


class EventFound(TypedDict):
    title: str
    host: Person
    city: City
    day: Day
    start_time: str


class FirstEvent(TypedDict):
    event: Event
    title: str


class FreeDay(TypedDict):
    day: Day


class Moved(TypedDict):
    title: str
    previous_day: Day


def fill(state: dict[str, Any], rng: random.Random) -> None:
    """One or two events for everybody."""
    state["events"] = {}
    for host in state["persons"]:
        for day in rng.sample(DAYS, rng.randrange(1, 3)):
            state["events"][number("EV", rng)] = {
                "title": rng.choice(OCCASIONS), "host": host, "city": rng.choice(state["cities"]), "day": day,
                "start_time": f"{rng.randrange(8, 17):02d}:30",
            }  # fmt: skip


def create_event(occasion: Occasion, host: Person, city: City, day: Day) -> Created:
    """Put a new event on the calendar of its host, at the first full hour from 09:00 that is free.

    Args:
        occasion: what the event is, such as budget review.
        host: full name of the person who holds the event.
        city: city where the event takes place.
        day: date of the event, such as 2026-03-02.
    """
    taken = {row["start_time"] for row in STATE["events"].values() if (row["host"], row["day"]) == (host, day)}
    free = [time for time in (f"{hour:02d}:00" for hour in range(9, 18)) if time not in taken]
    if not free:
        raise NotFound(f"{host} has no free hour on {day}")
    name = next_number("EV")
    STATE["events"][name] = {"title": occasion, "host": host, "city": city, "day": day, "start_time": free[0]}
    return {"event": name, "start_time": free[0]}


def get_event(event: Event) -> EventFound:
    """Look up an event: what it is, who holds it, where and when.

    Args:
        event: event number, such as EV1234.
    """
    return pick(one("events", event), "title", "host", "city", "day", "start_time")


def find_first_event(person: Person) -> FirstEvent:
    """Find the earliest event on a person's calendar.

    Args:
        person: full name of the person.
    """
    matches = [(row["day"], row["start_time"], name) for name, row in STATE["events"].items() if row["host"] == person]
    if not matches:
        raise NotFound(f"there is no event on the calendar of {person}")
    name = min(matches)[2]
    return {"event": name, "title": STATE["events"][name]["title"]}


def find_free_day(person: Person) -> FreeDay:
    """Find the first day on which a person holds no event.

    Args:
        person: full name of the person.
    """
    busy = {row["day"] for row in STATE["events"].values() if row["host"] == person}
    free = [day for day in STATE["days"] if day not in busy]
    if not free:
        raise NotFound(f"{person} has no free day")
    return {"day": free[0]}


def move_event(event: Event, day: Day) -> Moved:
    """Move an event to another day, at the same time.

    Args:
        event: event number, such as EV1234.
        day: new date of the event, such as 2026-03-02.
    """
    row = one("events", event)
    if row["day"] == day:
        raise NotFound(f"event {event} is already on {day}")
    previous, row["day"] = row["day"], day
    return {"title": row["title"], "previous_day": previous}


TOOLS = (create_event, get_event, find_first_event, find_free_day, move_event)
GIVEN = {"event": "events", "occasion": OCCASIONS}
