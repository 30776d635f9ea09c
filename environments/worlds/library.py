"""A library with a branch in every city: books and loans."""

from __future__ import annotations

import random
from typing import Annotated, Any, TypedDict

from .shared import DAYS, FIRST, LAST, STATE, City, Day, Look, NotFound, Person, next_number, number, one

Topic = Annotated[str, "topic"]
Book = Annotated[str, "book"]
Loan = Annotated[str, "loan"]
TOPICS = ("astronomy", "gardening", "bread baking", "Roman history", "chess", "sailing")
MOST_RENEWALS = 2


class BookFound(TypedDict):
    book: Book
    rating: float


class BookDetails(TypedDict):
    author: str
    topic: Topic
    branch: City
    copies: int


class Borrowed(TypedDict):
    loan: Loan
    due_day: Day


class LoanFound(TypedDict):
    book: Book
    reader: Person
    due_day: Day


class Extended(TypedDict):
    due_day: Day
    renewals: int


def fill(state: dict[str, Any], rng: random.Random) -> None:
    """Three books a topic, and a dozen loans."""
    state["books"], state["loans"] = {}, {}
    nouns = ("Harbour", "Garden", "Compass", "Lantern", "Orchard", "Voyage")
    titles = [f"The {a} {b}" for a in ("Silent", "Golden", "Patient", "Crooked", "Winter") for b in nouns]
    for place, title in enumerate(rng.sample(titles, 3 * len(TOPICS))):
        state["books"][title] = {
            "topic": TOPICS[place % len(TOPICS)], "author": f"{rng.choice(FIRST)} {rng.choice(LAST)}",
            "rating": rng.randrange(20, 51) / 10, "branch": rng.choice(state["cities"]),
            "copies": rng.randrange(1, 5), "due": rng.randrange(len(DAYS) - MOST_RENEWALS),
        }  # fmt: skip
    for book in rng.sample(sorted(state["books"]), 12):
        state["loans"][number("LN", rng)] = {
            "book": book, "reader": rng.choice(state["persons"]), "due": state["books"][book]["due"], "renewals": 0,
        }  # fmt: skip


def find_book(topic: Topic) -> BookFound:
    """Find the book with the best rating about a topic.

    Args:
        topic: what the book is about, such as chess.
    """
    found = [(row["rating"], title) for title, row in STATE["books"].items() if row["topic"] == topic]
    if not found:
        raise NotFound(f"the library has no book about {topic}")
    rating, title = max(found)
    return {"book": title, "rating": rating}


def get_book(book: Book) -> BookDetails:
    """Look up a book: its author, its topic, the branch that has it and the copies left there.

    Args:
        book: title of the book.
    """
    row = one("books", book)
    return {"author": row["author"], "topic": row["topic"], "branch": row["branch"], "copies": row["copies"]}


def borrow_book(book: Book, reader: Person) -> Borrowed:
    """Lend a copy of a book to a reader.

    Args:
        book: title of the book.
        reader: full name of the reader.
    """
    row = one("books", book)
    if not row["copies"]:
        raise NotFound(f"all copies of {book!r} are on loan")
    row["copies"] -= 1
    name = next_number("LN")
    STATE["loans"][name] = {"book": book, "reader": reader, "due": row["due"], "renewals": 0}
    return {"loan": name, "due_day": DAYS[row["due"]]}


def get_loan(loan: Loan) -> LoanFound:
    """Look up a loan: its book, its reader and when it is due.

    Args:
        loan: loan number, such as LN1234.
    """
    row = one("loans", loan)
    return {"book": row["book"], "reader": row["reader"], "due_day": DAYS[row["due"]]}


def extend_loan(loan: Loan) -> Extended:
    """Give a reader more time to return a book, at most twice.

    Args:
        loan: loan number, such as LN1234.
    """
    row = one("loans", loan)
    if row["renewals"] == MOST_RENEWALS:
        raise NotFound(f"loan {loan} has already been extended twice")
    row["renewals"] += 1
    row["due"] += 1
    return {"due_day": DAYS[row["due"]], "renewals": row["renewals"]}


TOOLS = (find_book, get_book, borrow_book, get_loan, extend_loan)
GIVEN = {"topic": TOPICS, "book": "books", "loan": "loans"}
NAMED = {"book": '"{}"', "loan": "[loan|loan number|the loan] {}"}
ASK = {
    "find_book": (
        "[find|look for] the [best rated|highest rated|top rated] library book [about|on] {topic}",
        "[find out|see|check] which library book [about|on] {topic} [is rated highest|has the best rating]",
        "search the library for the best rated book [about|on] {topic}",
    ),
    "get_book": (
        "[look up|check] {book} in the [library catalogue|catalogue of the library]",
        "[find out|check|see] which library branch has {book}",
        "[check|see] where the library keeps {book} and [how many copies are left|how many copies remain|the number "
        "of copies left]",
    ),
    "borrow_book": (
        "borrow {book} for {reader}",
        "[lend|give] a copy of {book} to {reader}",
        "[take out|check out] {book} for {reader}",
        "get {reader} a copy of {book} from the library",
    ),
    "get_loan": (
        "[look up|pull up] {loan}",
        "[check|find out|see] when {loan} is due",
        "[look up|get] the [details|particulars|data] of {loan}",
    ),
    "extend_loan": (
        "[extend|renew|prolong] {loan}",
        "get more time for {loan}",
        "have {loan} [extended|renewed]",
    ),
}
CALLED = {
    "find_book.book": ("that book", "the [best|highest|top] rated library book about {topic}"),
    "get_book.topic": ("its topic", "the topic of {book}"),
    "get_book.branch": ("the city of that branch", "the city where the library has {book}"),
    "borrow_book.loan": ("that new loan", "the new loan of {book}"),
    "borrow_book.due_day": ("the day it is due", "the day when {reader} has to return {book}"),
    "get_loan.book": ("the borrowed book", "the book of {loan}"),
    "get_loan.reader": ("the reader who borrowed it", "the reader of {loan}"),
    "get_loan.due_day": ("the day that loan is due", "the day when {loan} is due"),
    "extend_loan.due_day": ("the new due day", "the new due day of {loan}"),
}
TELL = {
    "find_book": (
        'The [best|highest] rated library book about {topic} is "{book}", rated {rating}.',
        '"{book}", rated {rating}, is the best library book about {topic}.',
        'About {topic}, the library has nothing rated higher than "{book}" at {rating}.',
    ),
    "get_book": (
        '"{book}" by {author} is about {topic}; the number of copies left at the branch in {branch} is {copies}.',
        'The branch in {branch} has "{book}" by {author}, on {topic}; copies left: {copies}.',
        '{author} wrote "{book}" about {topic}; copies left in {branch}: {copies}.',
    ),
    "borrow_book": (
        '"{book}" is lent to {reader} as {loan} and is due on {due_day}.',
        '{reader} has "{book}" on loan until {due_day} ({loan}).',
        '[Loan|The loan] {loan} of "{book}" to {reader} runs until {due_day}.',
    ),
    "get_loan": (
        '[Loan|The loan] {loan} is of "{book}" to {reader}, due on {due_day}.',
        '{reader} has to return "{book}", [|the ]loan {loan}, on {due_day}.',
        'With [|the loan ]{loan}, {reader} borrowed "{book}" until {due_day}.',
    ),
    "extend_loan": (
        "[Loan|The loan] {loan} is now due on {due_day}; it has been extended {renewals} of 2 times.",
        "The new due day of [|loan ]{loan} is {due_day}; {renewals} of 2 extensions are used.",
        "[|Loan |The loan ]{loan} now runs until {due_day}, with {renewals} of 2 extensions used up.",
    ),
}
TESTS = {
    "find_book": (("rating", ">", (3.5, 4.0, 4.5), "it is rated above {}"),),
    "get_book": (("copies", ">", (1, 2, 3), "more than {} copies are left"),),
    "extend_loan": (("renewals", "<", (2,), "it has been extended fewer than {} times"),),
}
CHANGES: dict[str, Look | None] = {"borrow_book": None, "extend_loan": None}
