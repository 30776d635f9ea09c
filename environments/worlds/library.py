"""A library with a branch in every city: books and loans."""

import random
from typing import Annotated, Any, TypedDict

from .shared import DAYS, FIRST, LAST, STATE, City, Day, NotFound, Person, next_number, number, one, pick

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
    matches = [(row["rating"], title) for title, row in STATE["books"].items() if row["topic"] == topic]
    if not matches:
        raise NotFound(f"the library has no book about {topic}")
    rating, title = max(matches)
    return {"book": title, "rating": rating}


def get_book(book: Book) -> BookDetails:
    """Look up a book: its author, its topic, the branch that has it and the copies left there.

    Args:
        book: title of the book.
    """
    return pick(one("books", book), "author", "topic", "branch", "copies")


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
