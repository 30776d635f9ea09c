"""Support tickets about the shop's orders."""

import random
from typing import Annotated, Any, Literal, TypedDict

from .shared import STATE, Day, NotFound, Person, next_number, number, one

Ticket = Annotated[str, "ticket"]
Problem = Annotated[str, "problem"]
Order = Annotated[str, "order"]
Email = Annotated[str, "email"]
PROBLEMS = ("a damaged item", "a missing part", "a wrong invoice", "a late delivery", "an unclear manual")


class Opened(TypedDict):
    ticket: Ticket
    agent: Person
    due_day: Day


class TicketFound(TypedDict):
    order: Order
    problem: str
    status: str
    reporter: Person
    agent: Person


class Assigned(TypedDict):
    previous_agent: Person
    open_tickets: int


class Watched(TypedDict):
    watchers: int


class Closed(TypedDict):
    reporter: Person
    messages: int


def fill(state: dict[str, Any], rng: random.Random) -> None:
    """A few support agents, and a dozen tickets."""
    agents = rng.sample(state["persons"], 5)
    state["tickets"] = {}
    state["desks"] = {
        priority: {"agent": rng.choice(agents), "due_day": rng.choice(state["days"])}
        for priority in ("low", "normal", "high")
    }
    for order in rng.sample(sorted(state["orders"]), 12):
        state["tickets"][number("TK", rng)] = {
            "order": order, "problem": rng.choice(PROBLEMS), "agent": rng.choice(agents), "watchers": [],
            "status": rng.choice(("open", "in progress", "waiting")), "messages": rng.randrange(1, 20),
        }  # fmt: skip


def open_ticket(order: Order, problem: Problem, priority: Literal["low", "normal", "high"] = "normal") -> Opened:
    """Report a problem with an order to support, which assigns an agent and a day to solve it by.

    Args:
        order: order number, such as OR1234.
        problem: what is wrong, such as a damaged item.
        priority: how urgent the problem is.
    """
    one("orders", order)
    desk, name = one("desks", priority), next_number("TK")
    STATE["tickets"][name] = {
        "order": order, "problem": problem, "agent": desk["agent"], "watchers": [], "status": "open", "messages": 1,
    }  # fmt: skip
    return {"ticket": name, "agent": desk["agent"], "due_day": desk["due_day"]}


def get_ticket(ticket: Ticket) -> TicketFound:
    """Look up a support ticket: its order and problem, its status, who reported it and who works on it.

    Args:
        ticket: ticket number, such as TK1234.
    """
    row = one("tickets", ticket)
    return {
        "order": row["order"], "problem": row["problem"], "status": row["status"],
        "reporter": one("orders", row["order"])["customer"], "agent": row["agent"],
    }  # fmt: skip


def assign_ticket(ticket: Ticket, agent: Person) -> Assigned:
    """Give a support ticket to another agent.

    Args:
        ticket: ticket number, such as TK1234.
        agent: full name of the person who works on the ticket from now on.
    """
    row = one("tickets", ticket)
    if row["agent"] == agent:
        raise NotFound(f"{agent} already works on ticket {ticket}")
    previous, row["agent"] = row["agent"], agent
    load = sum(other["agent"] == agent and other["status"] != "closed" for other in STATE["tickets"].values())
    return {"previous_agent": previous, "open_tickets": load}


def watch_ticket(ticket: Ticket, email: Email) -> Watched:
    """Have news of a support ticket sent to an email address.

    Args:
        ticket: ticket number, such as TK1234.
        email: email address, such as ana.silva@example.com.
    """
    watchers = one("tickets", ticket)["watchers"]
    if email in watchers:
        raise NotFound(f"{email} already gets the news of ticket {ticket}")
    watchers.append(email)
    return {"watchers": len(watchers)}


def close_ticket(ticket: Ticket) -> Closed:
    """Close a support ticket as solved.

    Args:
        ticket: ticket number, such as TK1234.
    """
    row = one("tickets", ticket)
    if row["status"] == "closed":
        raise NotFound(f"ticket {ticket} has already been closed")
    row["status"] = "closed"
    return {"reporter": one("orders", row["order"])["customer"], "messages": row["messages"]}


TOOLS = (open_ticket, get_ticket, assign_ticket, watch_ticket, close_ticket)
GIVEN = {"ticket": "tickets", "problem": PROBLEMS}
