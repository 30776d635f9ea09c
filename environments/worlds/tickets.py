"""Support tickets about the shop's orders."""

from __future__ import annotations

import random
from typing import Annotated, Any, Literal, TypedDict

from .shared import STATE, Day, Look, NotFound, Person, next_number, number, one

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
NAMED = {"ticket": "[ticket|ticket number|the ticket] {}"}
ASK = {
    "open_ticket": (
        "open a {priority} priority support ticket about {problem} for {order}",
        "[report|mention] {problem} to support for {order}, with {priority} priority",
        "[file|create|open] a support ticket with {priority} priority about {problem} for {order}",
    ),
    "get_ticket": (
        "[look up|pull up] {ticket}",
        "[check|see|find out] who reported {ticket} and how it stands",
        "[check|look up] the [status|details] of {ticket}",
    ),
    "assign_ticket": (
        "[assign|reassign|give] {ticket} to {agent}",
        "[hand|pass] {ticket} over to {agent}",
        "put {agent} in charge of {ticket}",
    ),
    "watch_ticket": (
        "have [news|updates] of {ticket} sent to {email}",
        "add {email} to the watchers of {ticket}",
        "[send|forward] all news of {ticket} to {email}",
    ),
    "close_ticket": (
        "[close|resolve] {ticket}",
        "mark {ticket} as [solved|closed|done]",
    ),
}
CALLED = {
    "open_ticket.ticket": ("that new ticket", "the new ticket about {problem} for {order}"),
    "open_ticket.agent": ("the agent in charge", "the agent of the new ticket about {problem} for {order}"),
    "open_ticket.due_day": ("the due day of that ticket", "the due day of the new ticket about {problem} for {order}"),
    "get_ticket.order": ("the order it is about", "the order of {ticket}"),
    "get_ticket.reporter": ("the person who reported it", "the reporter of {ticket}"),
    "get_ticket.agent": ("the agent who works on it", "the agent of {ticket}"),
    "assign_ticket.previous_agent": ("the former agent", "the [former|previous] agent of {ticket}"),
    "close_ticket.reporter": ("the person who had reported it", "the person who had reported {ticket}"),
}
TELL = {
    "open_ticket": (
        "[Ticket|The ticket] {ticket} about {problem} for {order} is open with {priority} priority; {agent} [is "
        "to|has to|will] solve it by {due_day}.",
        "{agent} has until {due_day} to solve {ticket}, {problem} with {order}, which has {priority} priority.",
        "With {priority} priority, {ticket} is open: {problem} for {order}, in the hands of {agent}, due on "
        "{due_day}.",
    ),
    "get_ticket": (
        "[Ticket|The ticket] {ticket} about {problem} for {order} is {status}; {reporter} reported it and {agent} "
        "works on it.",
        "{reporter} reported {ticket}, {problem} for {order}; it is {status}, and {agent} works on it.",
        "The status of [|ticket ]{ticket} is {status}: {problem} for {order}, reported by {reporter}, with {agent} "
        "in charge.",
    ),
    "assign_ticket": (
        "[Ticket|The ticket] {ticket} goes from {previous_agent} to {agent}, whose open tickets are now "
        "{open_tickets}.",
        "{agent} [has taken over|takes over|now has] {ticket} from {previous_agent}; open tickets of {agent}: "
        "{open_tickets}.",
        "[|Ticket |The ticket ]{ticket} is no longer with {previous_agent} but with {agent}; that agent now has "
        "{open_tickets} open.",
    ),
    "watch_ticket": (
        "News of [|the ]ticket {ticket} goes to {email}; the number of its watchers is {watchers}.",
        "{email} will get the news of [|ticket ]{ticket}, which now has {watchers} on its list of watchers.",
        "From now on {email} hears about {ticket}; watchers in all: {watchers}.",
    ),
    "close_ticket": (
        "[Ticket|The ticket] {ticket} of {reporter} is closed; the number of messages about it was {messages}.",
        "[|Ticket |The ticket ]{ticket}, reported by {reporter}, is closed; message count: {messages}.",
        "[Ticket|The ticket] {ticket} of {reporter} is solved; messages about it: {messages}.",
    ),
}
TESTS = {
    "get_ticket": (("status", "==", ("open", "in progress", "waiting"), "its status is {}"),),
    "assign_ticket": (("open_tickets", ">", (1, 2, 3), "that agent now has more than {} open tickets"),),
    "close_ticket": (("messages", ">", (5, 10), "it took more than {} messages"),),
}
CHANGES: dict[str, Look | None] = {
    "open_ticket": None,
    "assign_ticket": ("get_ticket", {"ticket": "ticket"}, "ticket {ticket} {is} still with {agent}"),
    "watch_ticket": None,
    "close_ticket": ("get_ticket", {"ticket": "ticket"}, "ticket {ticket} {is} still {status}"),
}
