"""An online shop: products, and orders that are delivered to a city."""

import random
from typing import Annotated, Any, TypedDict

from .shared import STATE, Amount, City, Currency, NotFound, Person, next_number, number, one, pick

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
    matches = [(row["price"], name) for name, row in STATE["products"].items() if row["category"] == category]
    if not matches:
        raise NotFound(f"the shop has no {category} section")
    price, name = min(matches)
    return {"product": name, "price": price, "currency": STATE["products"][name]["currency"]}


def get_product(product: Product) -> ProductFound:
    """Look up a product: its price, how many are in stock, and in which city's warehouse.

    Args:
        product: full name of the product, such as Aurora camera.
    """
    return pick(one("products", product), "category", "price", "currency", "stock", "warehouse")


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
    return pick(one("orders", order), "product", "customer", "city", "status")


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
