"""An online shop: products, and orders that are delivered to a city."""

from __future__ import annotations

import random
from typing import Annotated, Any, TypedDict

from .shared import STATE, Amount, City, Currency, Look, NotFound, Person, next_number, number, one

Category = Annotated[str, "category"]
Product = Annotated[str, "product"]
Order = Annotated[str, "order"]
CATEGORIES = ("camera", "keyboard", "backpack", "lamp", "kettle", "headset")


class CheapestProduct(TypedDict):
    product: Product
    price: Amount
    currency: Currency


class ProductFound(TypedDict):
    category: Category
    price: Amount
    currency: Currency
    stock: int
    warehouse: City


class Ordered(TypedDict):
    order: Order
    price: Amount
    currency: Currency


class OrderFound(TypedDict):
    product: Product
    customer: Person
    city: City
    status: str


class Refunded(TypedDict):
    refund: Amount
    currency: Currency


def fill(state: dict[str, Any], rng: random.Random) -> None:
    """Four products a category, all priced in one currency, and sixteen orders."""
    state["products"], state["orders"] = {}, {}
    currency = rng.choice(state["currencies"])
    for category in CATEGORIES:
        for name in rng.sample(("Aurora", "Nimbus", "Pico", "Terra", "Vela", "Onyx", "Lumen", "Rova"), 4):
            state["products"][f"{name} {category}"] = {
                "category": category, "price": rng.randrange(19, 400) + 0.9, "currency": currency,
                "stock": rng.randrange(2, 40), "warehouse": rng.choice(state["cities"]),
            }  # fmt: skip
    for _ in range(16):
        product = rng.choice(sorted(state["products"]))
        state["orders"][number("OR", rng)] = {
            "product": product, "customer": rng.choice(state["persons"]), "city": rng.choice(state["cities"]),
            "price": state["products"][product]["price"], "currency": currency,
            "status": rng.choice(("placed", "packed")),
        }  # fmt: skip


def find_cheapest_product(category: Category) -> CheapestProduct:
    """Find the product with the lowest price in a section of the shop.

    Args:
        category: section of the shop, such as camera.
    """
    found = [(row["price"], name) for name, row in STATE["products"].items() if row["category"] == category]
    if not found:
        raise NotFound(f"the shop has no {category} section")
    price, name = min(found)
    return {"product": name, "price": price, "currency": STATE["products"][name]["currency"]}


def get_product(product: Product) -> ProductFound:
    """Look up a product: its price, how many are in stock, and in which city's warehouse.

    Args:
        product: full name of the product, such as Aurora camera.
    """
    row = one("products", product)
    return {
        "category": row["category"], "price": row["price"], "currency": row["currency"], "stock": row["stock"],
        "warehouse": row["warehouse"],
    }  # fmt: skip


def place_order(product: Product, customer: Person, city: City) -> Ordered:
    """Order one piece of a product for a customer.

    Args:
        product: full name of the product, such as Aurora camera.
        customer: full name of the customer.
        city: city to which the order is delivered.
    """
    row = one("products", product)
    if not row["stock"]:
        raise NotFound(f"the {product} is out of stock")
    row["stock"] -= 1
    name, price, currency = next_number("OR"), row["price"], row["currency"]
    STATE["orders"][name] = {
        "product": product, "customer": customer, "city": city, "price": price, "currency": currency,
        "status": "placed",
    }  # fmt: skip
    return {"order": name, "price": price, "currency": currency}


def get_order(order: Order) -> OrderFound:
    """Look up an order: its product, customer, city of delivery and status.

    Args:
        order: order number, such as OR1234.
    """
    row = one("orders", order)
    return {"product": row["product"], "customer": row["customer"], "city": row["city"], "status": row["status"]}


def cancel_order(order: Order) -> Refunded:
    """Cancel an order that has not been shipped, and refund its price.

    Args:
        order: order number, such as OR1234.
    """
    row = one("orders", order)
    if row["status"] in ("shipped", "cancelled"):
        raise NotFound(f"order {order} has already been {row['status']}")
    row["status"] = "cancelled"
    one("products", row["product"])["stock"] += 1
    return {"refund": row["price"], "currency": row["currency"]}


TOOLS = (find_cheapest_product, get_product, place_order, get_order, cancel_order)
GIVEN = {"category": CATEGORIES, "product": "products", "order": "orders"}
NAMED = {"category": "the {} section", "product": "the {}", "order": "[order|order number|the order] {}"}
ASK = {
    "find_cheapest_product": (
        "[find|look for] the [cheapest|least expensive] [product|item] in {category} [of the|in the|in our] shop",
        "find out [which product|which item|what] costs least in {category} [of the|in the|in our] shop",
        "[look for|search for] the lowest-priced [product|item] in {category} [of the|in the|in our] shop",
    ),
    "get_product": (
        "[look up|check] {product} in [the|our] shop",
        "check the price and [stock|availability] of {product}",
        "[find out|see|check] what {product} costs and how many are in stock",
    ),
    "place_order": (
        "[order|buy|purchase] {product} for {customer}, [with delivery to|to be delivered to] {city}",
        "buy {product} for {customer} and have it [delivered|sent] to {city}",
        "place an order of {product} for {customer}, [with delivery to|going to] {city}",
    ),
    "get_order": (
        "[check|look up] the status of {order}",
        "[look up|pull up] {order}",
        "[check|find out|see] how {order} stands",
    ),
    "cancel_order": (
        "[cancel|call off] {order}",
        "[cancel|call off] {order} and get the money back",
        "[cancel|call off] {order} for a refund",
    ),
}
CALLED = {
    "find_cheapest_product.product": (
        "that product",
        "the [cheapest|least expensive|lowest-priced] product in {category}",
    ),
    "find_cheapest_product.price": (
        "its price",
        "the price of the [cheapest|least expensive|lowest-priced] product in {category}",
    ),
    "find_cheapest_product.currency": ("the currency of its price", "the currency of the prices in {category}"),
    "get_product.category": ("its section", "the section of {product}"),
    "get_product.price": ("its price", "the price of {product}"),
    "get_product.currency": ("the currency of its price", "the currency in which {product} is sold"),
    "get_product.warehouse": ("the city where it is stored", "the city where {product} is stored"),
    "place_order.order": ("that new order", "the new order of {product} for {customer}"),
    "place_order.price": ("the price of that order", "the price of the order of {product} for {customer}"),
    "place_order.currency": ("the currency of that order", "the currency of the order of {product} for {customer}"),
    "get_order.product": ("the ordered product", "the product of {order}"),
    "get_order.customer": ("the customer who ordered it", "the customer of {order}"),
    "get_order.city": ("the city of delivery", "the city to which {order} is delivered"),
    "cancel_order.refund": ("the refund", "the refund for {order}"),
    "cancel_order.currency": ("the currency of the refund", "the currency of the refund for {order}"),
}
TELL = {
    "find_cheapest_product": (
        "The [cheapest|least expensive] product in the {category} section is the {product}, at {price} {currency}.",
        "In the {category} section the {product} costs least: {price} {currency}.",
        "The {product} is the [cheapest|lowest-priced] product of the {category} section, for {price} {currency}.",
    ),
    "get_product": (
        "The {product} in the {category} section costs {price} {currency}, with a stock of {stock} in {warehouse}.",
        "The price of the {product} ({category} section) is {price} {currency}; there are {stock} of them in "
        "{warehouse}.",
        "The {category} section has the {product} for {price} {currency}; the stock in {warehouse} is {stock}.",
    ),
    "place_order": (
        "[Order|The order] {order} is placed: the {product} for {customer} to {city}, at {price} {currency}.",
        "The {product} is ordered for {customer} as {order}; it goes to {city} and costs {price} {currency}.",
        "{customer} will get the {product} in {city}: [|the ]order {order}, {price} {currency}.",
    ),
    "get_order": (
        "[Order|The order] {order} is {status}: the {product} for {customer}, to be delivered to {city}.",
        "The status of [|order ]{order} is {status}; it is the {product} for {customer} in {city}.",
        "[|Order |The order ]{order} is for {customer}, the {product} with delivery to {city}, and is {status}.",
    ),
    "cancel_order": (
        "[Order|The order] {order} is cancelled, and {refund} {currency} will be refunded.",
        "[|Order |The order ]{order} has been called off; {refund} {currency} [come|go] back.",
        "The refund for the cancelled order {order} is {refund} {currency}.",
    ),
}
TESTS = {
    "find_cheapest_product": (("price", "<", (50.0, 100.0, 150.0), "it costs less than {}"),),
    "get_product": (
        ("stock", "<", (5, 10, 20), "fewer than {} are in stock"),
        ("price", ">", (100.0, 200.0, 300.0), "it costs more than {}"),
    ),
    "get_order": (("status", "==", ("placed", "packed"), "its status is {}"),),
}
CHANGES: dict[str, Look | None] = {
    "place_order": None,
    "cancel_order": ("get_order", {"order": "order"}, "order {order} {is} still {status}"),
}
