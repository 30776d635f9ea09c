"""An address book with everybody in it."""

from __future__ import annotations

import random
from typing import Annotated, Any, TypedDict

from .shared import STATE, City, Day, Look, NotFound, Person, one

Email = Annotated[str, "email"]


class Contact(TypedDict):
    email: Email
    phone: str
    home_city: City


class EmailOwner(TypedDict):
    owner: Person


class Birthday(TypedDict):
    birthday: Day
    turns: int


class EmergencyContact(TypedDict):
    contact: Person
    relation: str


class HomeChanged(TypedDict):
    previous_city: City


def fill(state: dict[str, Any], rng: random.Random) -> None:
    """An entry for everybody."""
    state["contacts"], state["emails"] = {}, {}
    for person in state["persons"]:
        email = f"{person.lower().replace(' ', '.')}@example.com"
        state["emails"][email] = {"owner": person}
        state["contacts"][person] = {
            "email": email, "phone": f"555-{rng.randrange(100, 1000)}-{rng.randrange(1000, 10000)}",
            "home_city": rng.choice(state["cities"]), "birthday": rng.choice(state["days"]),
            "turns": rng.randrange(20, 70), "relation": rng.choice(("sibling", "cousin", "friend", "neighbour")),
            "emergency": rng.choice([other for other in state["persons"] if other != person]),
        }  # fmt: skip


def get_contact(person: Person) -> Contact:
    """Look up how to reach a person: email address, telephone number and home city.

    Args:
        person: full name of the person.
    """
    row = one("contacts", person)
    return {"email": row["email"], "phone": row["phone"], "home_city": row["home_city"]}


def find_email_owner(email: Email) -> EmailOwner:
    """Find out to whom an email address belongs.

    Args:
        email: email address, such as ana.silva@example.com.
    """
    return {"owner": one("emails", email)["owner"]}


def get_birthday(person: Person) -> Birthday:
    """Look up a person's birthday this year, and the age reached then.

    Args:
        person: full name of the person.
    """
    row = one("contacts", person)
    return {"birthday": row["birthday"], "turns": row["turns"]}


def get_emergency_contact(person: Person) -> EmergencyContact:
    """Look up whom to call if something happens to a person.

    Args:
        person: full name of the person.
    """
    row = one("contacts", person)
    return {"contact": row["emergency"], "relation": row["relation"]}


def change_home_city(person: Person, city: City) -> HomeChanged:
    """Record in the address book that a person has moved to another city.

    Args:
        person: full name of the person.
        city: city where the person lives from now on.
    """
    row = one("contacts", person)
    if city not in STATE["cities"]:
        raise NotFound(f"there is no city called {city!r}")
    if row["home_city"] == city:
        raise NotFound(f"{person} already lives in {city}")
    previous, row["home_city"] = row["home_city"], city
    return {"previous_city": previous}


TOOLS = (get_contact, find_email_owner, get_birthday, get_emergency_contact, change_home_city)
GIVEN = {"email": "emails"}
NAMED: dict[str, str] = {}
ASK = {
    "get_contact": (
        "[look up|find|get] the contact details of {person}",
        "[find|look up] {person} in the [address book|contact list|directory]",
        "[find out|look up] how {person} can be reached",
    ),
    "find_email_owner": (
        "[find out|see|check] who uses {email}",
        "[find out|see|check] to whom {email} belongs",
        "[find|look up] the owner of {email}",
    ),
    "get_birthday": (
        "[look up|check] the birthday of {person}",
        "[find out|check|see] when {person} [has a birthday this year|turns a year older|celebrates a birthday]",
        "[check|find out] on which day {person} has a birthday",
    ),
    "get_emergency_contact": (
        "[look up|find] the [emergency contact|contact in an emergency] of {person}",
        "[find out|see|check] whom to call [if|in case] something happens to {person}",
        "[see|check|find out] who is listed as the emergency contact of {person}",
    ),
    "change_home_city": (
        "[change|update] the [home city|home town|home] of {person} to {city}",
        "[note|record] in the [address book|contact list|directory] that {person} now lives in {city}",
        "[set|register] {city} as the new [home city|home town|home] of {person}",
    ),
}
CALLED = {
    "get_contact.email": ("that email address", "the email address of {person}"),
    "get_contact.home_city": ("that home city", "the home [city|town] of {person}"),
    "find_email_owner.owner": ("that owner", "the owner of {email}"),
    "get_birthday.birthday": ("that birthday", "the birthday of {person}"),
    "get_emergency_contact.contact": (
        "that emergency contact",
        "the [emergency contact|contact in an emergency] of {person}",
    ),
    "change_home_city.previous_city": ("that former home city", "the [former|previous|old] home city of {person}"),
}
TELL = {
    "get_contact": (
        "{person} lives in {home_city} and can be reached at {email} or {phone}.",
        "The contact details of {person}, who lives in {home_city}, are {email} and {phone}.",
        "{person}, of {home_city}, has the address {email} and the number {phone}.",
    ),
    "find_email_owner": (
        "The email address {email} belongs to {owner}.",
        "{owner} is the owner of {email}.",
        "{email} is used by {owner}.",
    ),
    "get_birthday": (
        "The birthday of {person} is on {birthday}, turning {turns}.",
        "{person} turns {turns} on {birthday}.",
        "On {birthday}, {person} will be {turns}.",
    ),
    "get_emergency_contact": (
        "The emergency contact of {person} is {contact}, a {relation}.",
        "[If|In case] something happens to {person}, {contact}, a {relation}, is to be called.",
        "{person} has named {contact}, a {relation}, as emergency contact.",
    ),
    "change_home_city": (
        "{person} now lives in {city} instead of {previous_city}.",
        "The [home city|home town|home] of {person} is now {city}; it was {previous_city}.",
        "{city} has replaced {previous_city} as the [home city|home town|home] of {person}.",
    ),
}
TESTS = {
    "get_birthday": (("turns", ">", (30, 40, 50), "the new age is above {}"),),
    "get_emergency_contact": (("relation", "==", ("friend", "cousin"), "that contact is a {}"),),
}
CHANGES: dict[str, Look | None] = {
    "change_home_city": ("get_contact", {"person": "person"}, "the home city of {person} {is} still {home_city}"),
}
