"""An address book with everybody in it."""

import random
from typing import Annotated, Any, TypedDict

from .shared import STATE, City, Day, NotFound, Person, one, pick

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
    return pick(one("contacts", person), "email", "phone", "home_city")


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
