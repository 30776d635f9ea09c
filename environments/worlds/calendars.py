"""Everybody's calendar: events in a city on a day."""

from __future__ import annotations

import random
from typing import Annotated, Any, TypedDict

from .shared import DAYS, STATE, City, Day, Look, NotFound, Person, next_number, number, one

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
    row = one("events", event)
    return {
        "title": row["title"], "host": row["host"], "city": row["city"], "day": row["day"],
        "start_time": row["start_time"],
    }  # fmt: skip


def find_first_event(person: Person) -> FirstEvent:
    """Find the earliest event on a person's calendar.

    Args:
        person: full name of the person.
    """
    found = [(row["day"], row["start_time"], name) for name, row in STATE["events"].items() if row["host"] == person]
    if not found:
        raise NotFound(f"there is no event on the calendar of {person}")
    name = min(found)[2]
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
NAMED = {"event": "[event|event number|the event] {}", "occasion": "a {}"}
ASK = {
    "create_event": (
        "[schedule|plan|arrange|set up] {occasion} in {city} on {day}, [held|hosted] by {host}",
        "add {occasion} in {city} on {day} to the [calendar|diary] of {host}",
        "[put|enter] {occasion} in {city} [on the calendar|in the diary] of {host} for {day}",
    ),
    "get_event": (
        "[look up|pull up|check] {event}",
        "[find out|check|see] [where and when|when and where] {event} [takes place|is held]",
        "[get|look up] the [details|particulars|data] of {event}",
    ),
    "find_first_event": (
        "[find|look for] the [earliest|first] event [on the calendar|in the diary] of {person}",
        "[find out|see|check] which event [comes first|is the first] [on the calendar|in the diary] of {person}",
        "[look for|pick out] the [earliest|first] event that {person} [holds|hosts]",
    ),
    "find_free_day": (
        "find the first [day without an event|free day] [on the calendar|in the diary] of {person}",
        "[find out|see|check] on which day {person} is [free first|first free]",
        "[look for|see which is] the first day [on which|when] {person} [holds|hosts] no event",
    ),
    "move_event": (
        "[move|shift] {event} to {day}",
        "reschedule {event} for {day}",
        "change the date of {event} to {day}",
    ),
}
CALLED = {
    "create_event.event": ("that new event", "the new event of {host} on {day}"),
    "get_event.host": ("the host", "the host of {event}"),
    "get_event.city": ("the city where it takes place", "the city of {event}"),
    "get_event.day": ("the day of that event", "the day of {event}"),
    "find_first_event.event": ("that first event", "the [earliest|first] event of {person}"),
    "find_free_day.day": ("that free day", "the first free day of {person}"),
    "move_event.previous_day": ("its former day", "the former day of {event}"),
}
TELL = {
    "create_event": (
        "The {occasion} in {city} on {day} is [on the calendar|in the diary] of {host} as {event}, [at|from] "
        "{start_time}.",
        "{host} now holds a {occasion} in {city} on {day} [at|from] {start_time}, [|the ]event {event}.",
        "[Event|The event] {event} [is set|stands|is entered]: a {occasion} in {city}, {day} "
        "[at|from] {start_time}, [hosted|held] by "
        "{host}.",
    ),
    "get_event": (
        "[Event|The event] {event} is a {title} held by {host} in {city} on {day} [at|from] {start_time}.",
        "{host} [hosts|holds] {event}, a {title}, in {city} on {day} [at|from] {start_time}.",
        "[|Event |The event ]{event} takes place in {city} on {day} [at|from] {start_time}: a {title} of {host}.",
    ),
    "find_first_event": (
        "The [earliest|first] event of {person} is {event}, a {title}.",
        "[|Event |The event ]{event}, a {title}, comes first [on the calendar|in the diary] of {person}.",
        "First [on the calendar|in the diary] of {person} is the {title} {event}.",
    ),
    "find_free_day": (
        "The first [free|open] day of {person} is {day}.",
        "{person} is first free on {day}.",
        "{day} is the first day [on which|when] {person} [has|holds] no event.",
    ),
    "move_event": (
        "The {title}, [|the ]event {event}, is moved from {previous_day} to {day}.",
        "[|Event |The event ]{event}, the {title}, now takes place on {day} instead of {previous_day}.",
        "The date of the {title} {event} is now {day}; it was {previous_day}.",
    ),
}
TESTS = {
    "get_event": (("title", "==", OCCASIONS, "it is a {}"),),
    "find_first_event": (("title", "==", OCCASIONS, "that event is a {}"),),
    "find_free_day": (("day", "==", tuple(DAYS[:2]), "that day is {}"),),
}
CHANGES: dict[str, Look | None] = {
    "create_event": None,
    "move_event": ("get_event", {"event": "event"}, "event {event} {is} still on {day}"),
}
