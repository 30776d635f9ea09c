"""Currencies, and an account for everybody."""

import random
from typing import Annotated, Any, TypedDict

from .shared import CITIES, STATE, Amount, City, Currency, NotFound, Person, next_number, number, one, pick

Transfer = Annotated[str, "transfer"]
# About what one euro buys.
PER_EURO = {"EUR": 1.0, "NOK": 11.6, "JPY": 163.0, "CAD": 1.5, "KES": 141.0, "CZK": 25.1, "PEN": 4.1, "AUD": 1.65}
AMOUNTS = (12.5, 24.9, 48.5, 75.5, 99.9, 130.5, 249.9, 310.5)


class Converted(TypedDict):
    converted: Amount


class CityCurrency(TypedDict):
    currency: Currency


class Balance(TypedDict):
    balance: Amount
    currency: Currency


class Transferred(TypedDict):
    transfer: Transfer
    balance: Amount
    account_currency: Currency


class TransferFound(TypedDict):
    sender: Person
    recipient: Person
    amount: Amount
    currency: Currency


def fill(state: dict[str, Any], rng: random.Random) -> None:
    """Exchange rates, an account for everybody, a few transfers."""
    state["rates"] = {
        currency: {"per_euro": round(rate * rng.uniform(0.95, 1.05), 4) if rate != 1 else rate}
        for currency, rate in PER_EURO.items()
    }
    state["accounts"], state["transfers"] = {}, {}
    for person in state["persons"]:
        currency = rng.choice(state["currencies"])
        balance = round(rng.randrange(600, 6000) * PER_EURO[currency], 2)
        state["accounts"][person] = {"balance": balance, "currency": currency}
    for _ in range(10):
        sender, recipient = rng.sample(state["persons"], 2)
        state["transfers"][number("TR", rng)] = {
            "sender": sender, "recipient": recipient, "amount": rng.choice(AMOUNTS),
            "currency": rng.choice(state["currencies"]),
        }  # fmt: skip


def _exchanged(amount: float, source: str, target: str) -> float:
    return round(float(amount / one("rates", source)["per_euro"] * one("rates", target)["per_euro"]), 2)


def convert_amount(amount: Amount, source_currency: Currency, target_currency: Currency) -> Converted:
    """Convert an amount of money from one currency to another.

    Args:
        amount: amount of money in the source currency.
        source_currency: code of the currency to convert from, such as EUR.
        target_currency: code of the currency to convert to, such as NOK.
    """
    return {"converted": _exchanged(amount, source_currency, target_currency)}


def get_city_currency(city: City) -> CityCurrency:
    """Look up the currency in which one pays in a city.

    Args:
        city: name of the city.
    """
    if city not in CITIES:
        raise NotFound(f"the currency of {city!r} is not known")
    return {"currency": CITIES[city]}


def get_balance(account_holder: Person) -> Balance:
    """Look up how much money is in a person's account.

    Args:
        account_holder: full name of the person whose account it is.
    """
    row = one("accounts", account_holder)
    return {"balance": row["balance"], "currency": row["currency"]}


def send_transfer(sender: Person, recipient: Person, amount: Amount, currency: Currency) -> Transferred:
    """Send money from one person's account to another's; the result says what the sender has left.

    Args:
        sender: full name of the person who pays.
        recipient: full name of the person who is paid.
        amount: amount of money to send.
        currency: code of the amount's currency, such as EUR.
    """
    payer, payee = one("accounts", sender), one("accounts", recipient)
    cost = _exchanged(amount, currency, payer["currency"])
    if sender == recipient:
        raise NotFound("a transfer needs two accounts, not one")
    if cost > payer["balance"]:
        raise NotFound(f"{sender} has less than {amount} {currency} in the account")
    payer["balance"] = round(payer["balance"] - cost, 2)
    payee["balance"] = round(payee["balance"] + _exchanged(amount, currency, payee["currency"]), 2)
    name = next_number("TR")
    STATE["transfers"][name] = {"sender": sender, "recipient": recipient, "amount": amount, "currency": currency}
    return {"transfer": name, "balance": payer["balance"], "account_currency": payer["currency"]}


def get_transfer(transfer: Transfer) -> TransferFound:
    """Look up a transfer: who paid whom, and how much.

    Args:
        transfer: transfer number, such as TR1234.
    """
    return pick(one("transfers", transfer), "sender", "recipient", "amount", "currency")


TOOLS = (convert_amount, get_city_currency, get_balance, send_transfer, get_transfer)
GIVEN = {"amount": AMOUNTS, "transfer": "transfers"}
