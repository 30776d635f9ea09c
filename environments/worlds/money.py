"""Currencies, and an account for everybody."""

from __future__ import annotations

import random
from typing import Annotated, Any, TypedDict

from .shared import CITIES, STATE, Amount, City, Currency, Look, NotFound, Person, next_number, number, one

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
    row = one("transfers", transfer)
    return {
        "sender": row["sender"], "recipient": row["recipient"], "amount": row["amount"], "currency": row["currency"],
    }  # fmt: skip


TOOLS = (convert_amount, get_city_currency, get_balance, send_transfer, get_transfer)
GIVEN = {"amount": AMOUNTS, "transfer": "transfers"}
NAMED = {"transfer": "[transfer|transfer number|the transfer] {}"}
ASK = {
    "convert_amount": (
        "[convert|change|exchange] {amount} from {source_currency} into {target_currency}",
        "convert {amount} from {source_currency} to {target_currency}",
        "[work out|find out|calculate] what {amount} in {source_currency} [comes to|is worth] in {target_currency}",
    ),
    "get_city_currency": (
        "[find out|check|see] which currency [is used|one pays with] in {city}",
        "[look up|check] the currency of {city}",
        "[look up|check] what money people use in {city}",
    ),
    "get_balance": (
        "check the balance [of the account of|in the account of|held by] {account_holder}",
        "[find out|see|check] how much money {account_holder} has",
        "[look up|check] the account balance of {account_holder}",
    ),
    "send_transfer": (
        "[send|pay] {recipient} {amount} in {currency} from the account of {sender}",
        "[transfer|send] {amount} in {currency} from {sender} to {recipient}",
        "[make|arrange] a transfer of {amount} in {currency} from {sender} to {recipient}",
    ),
    "get_transfer": (
        "[look up|pull up|check] {transfer}",
        "[find out|check|see] who paid whom in {transfer}",
        "[look up|get] the [details|particulars|data] of {transfer}",
    ),
}
CALLED = {
    "convert_amount.converted": (
        "the converted amount",
        "the amount that {amount} in {source_currency} makes in {target_currency}",
    ),
    "get_city_currency.currency": ("that local currency", "the currency of {city}"),
    "get_balance.balance": ("that balance", "the [balance|account balance] of {account_holder}"),
    "get_balance.currency": ("the currency of that account", "the currency of the account of {account_holder}"),
    "send_transfer.transfer": ("that new transfer", "the new transfer from {sender} to {recipient}"),
    "send_transfer.balance": ("the remaining balance", "the remaining balance of {sender}"),
    "send_transfer.account_currency": ("the currency of the sender's account", "the account currency of {sender}"),
    "get_transfer.sender": ("the person who paid", "the sender of {transfer}"),
    "get_transfer.recipient": ("the person who was paid", "the recipient of {transfer}"),
    "get_transfer.amount": ("the amount paid", "the amount of {transfer}"),
    "get_transfer.currency": ("the currency of that transfer", "the currency of {transfer}"),
}
TELL = {
    "convert_amount": (
        "{amount} {source_currency} is worth {converted} {target_currency}.",
        "{amount} {source_currency} [comes to|makes|equals] {converted} {target_currency}.",
        "In {target_currency}, {amount} {source_currency} is {converted}.",
    ),
    "get_city_currency": (
        "The currency [used in|of] {city} is {currency}.",
        "In {city} one pays [in|with] {currency}.",
        "People in {city} use {currency}.",
    ),
    "get_balance": (
        "The account of {account_holder} holds {balance} {currency}.",
        "{account_holder} has {balance} {currency} [in the account|on hand|at the bank].",
        "The balance of {account_holder} is {balance} {currency}.",
    ),
    "send_transfer": (
        "{sender} has sent {amount} {currency} to {recipient} as {transfer} and has {balance} {account_currency} "
        "left.",
        "[Transfer|The transfer] {transfer} of {amount} {currency} from {sender} to {recipient} is made; {balance} "
        "{account_currency} [remain|are left].",
        "{recipient} gets {amount} {currency} from {sender} with {transfer}, which leaves {sender} {balance} "
        "{account_currency}.",
    ),
    "get_transfer": (
        "With [|the transfer ]{transfer}, {sender} paid {amount} {currency} to {recipient}.",
        "[|Transfer |The transfer ]{transfer} was a payment of {amount} {currency} from {sender} to {recipient}.",
        "{recipient} [got|received] {amount} {currency} from {sender} in {transfer}.",
    ),
}
TESTS = {
    "convert_amount": (("converted", ">", (50.0, 200.0, 1000.0), "the result is above {}"),),
    "get_balance": (("balance", "<", (2000.0, 5000.0, 20000.0), "the balance is below {}"),),
    "get_transfer": (("amount", ">", (50.0, 100.0, 200.0), "the amount is above {}"),),
}
CHANGES: dict[str, Look | None] = {"send_transfer": None}
CARRIED = {
    "convert_amount": (
        "[convert|change|exchange] {amount} [to|into] {target_currency}",
        "[work out|find out|calculate|see] what {amount} [comes to|is worth|makes] in {target_currency}",
        "[express|state] {amount} in {target_currency}",
    ),
    "send_transfer": (
        "[send|pay] {recipient} {amount} from the account of {sender}",
        "[transfer|send] {amount} from {sender} to {recipient}",
    ),
}
