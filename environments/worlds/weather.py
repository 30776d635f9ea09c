"""Weather in each city: now, and on each day of the forecast."""

from __future__ import annotations

import random
from typing import Any, Literal, TypedDict

from .shared import CITIES, DAYS, STATE, City, Day, Look, NotFound, one


class Temperature(TypedDict):
    temperature: int


class Forecast(TypedDict):
    condition: str
    high_celsius: int
    rain_percent: int


class AirQuality(TypedDict):
    index: int
    level: str


class DriestDay(TypedDict):
    day: Day
    rain_percent: int


class WarmestCity(TypedDict):
    city: City
    high_celsius: int


def fill(state: dict[str, Any], rng: random.Random) -> None:
    """A forecast of every day in every city."""
    state["weather"] = {}
    for city in CITIES:
        usual = rng.randrange(4, 28)
        forecast = {day: {"high": usual + rng.randrange(-6, 7), "rain": rng.randrange(0, 100, 5)} for day in DAYS}
        state["weather"][city] = {"now": usual, "air_quality": rng.randrange(10, 160), "forecast": forecast}


def get_current_temperature(city: City, unit: Literal["Celsius", "Fahrenheit"] = "Celsius") -> Temperature:
    """Measure how warm it is in a city right now.

    Args:
        city: name of the city.
        unit: scale of the temperature.
    """
    celsius = one("weather", city)["now"]
    return {"temperature": round(celsius * 9 / 5 + 32) if unit == "Fahrenheit" else celsius}


def get_forecast(city: City, day: Day) -> Forecast:
    """Look up the weather that is expected in a city on a day.

    Args:
        city: name of the city.
        day: date, such as 2026-03-02.
    """
    forecast = one("weather", city)["forecast"]
    if day not in forecast:
        raise NotFound(f"there is no forecast for {day}")
    rain = forecast[day]["rain"]
    condition = "rainy" if rain > 60 else "cloudy" if rain > 30 else "sunny"
    return {"condition": condition, "high_celsius": forecast[day]["high"], "rain_percent": rain}


def get_air_quality(city: City) -> AirQuality:
    """Look up how clean the air in a city is, from 0 for pure air upwards.

    Args:
        city: name of the city.
    """
    index = one("weather", city)["air_quality"]
    return {"index": index, "level": "good" if index <= 50 else "moderate" if index <= 100 else "poor"}


def find_driest_day(city: City) -> DriestDay:
    """Find the day on which rain is least likely in a city.

    Args:
        city: name of the city.
    """
    rain, day = min((row["rain"], day) for day, row in one("weather", city)["forecast"].items())
    return {"day": day, "rain_percent": rain}


def find_warmest_city(day: Day) -> WarmestCity:
    """Find the city where it will be warmest on a day.

    Args:
        day: date, such as 2026-03-02.
    """
    if day not in STATE["days"]:
        raise NotFound(f"there is no forecast for {day}")
    high, city = max((row["forecast"][day]["high"], city) for city, row in STATE["weather"].items())
    return {"city": city, "high_celsius": high}


TOOLS = (get_current_temperature, get_forecast, get_air_quality, find_driest_day, find_warmest_city)
GIVEN: dict[str, Any] = {}
NAMED: dict[str, str] = {}
ASK = {
    "get_current_temperature": (
        "[check|find out|see] in degrees {unit} how warm it is in {city} [now|right now|at the moment]",
        "[check|look up|measure] the [current|present] temperature in {city} in degrees {unit}",
        "[find out|see|check] how many degrees {unit} it is in {city} [right now|at the moment]",
    ),
    "get_forecast": (
        "[check|look up|get] the [weather forecast|forecast] for {city} on {day}",
        "[find out|see|check] [what the weather will be like|what the weather is going to be|how the weather will "
        "be] in {city} on {day}",
        "[see|find out|check] what weather is [expected|forecast] in {city} on {day}",
    ),
    "get_air_quality": (
        "[check|look up|measure] the air quality in {city}",
        "[find out|check|see] how [clean|good] the air is in {city}",
        "[look up|check] the air quality index of {city}",
    ),
    "find_driest_day": (
        "[find|look for] the day [on which rain is least likely|with the lowest chance of rain|with the least risk "
        "of rain] in {city}",
        "[find|pick out] the driest day [of|in] the forecast for {city}",
        "find out [on which day rain is least likely|which day promises to be driest] in {city}",
    ),
    "find_warmest_city": (
        "[find|look for] the city with the [warmest weather|highest temperatures] [on|for] {day}",
        "find out [which city will be warmest|where it will be warmest|which city is going to be warmest] on {day}",
        "[see|check] which [city|place] has the [highest temperature|highest temperatures|warmest weather] [on|for] "
        "{day}",
    ),
}
CALLED = {
    "find_driest_day.day": ("that driest day", "the driest day in {city}"),
    "find_warmest_city.city": (
        "that warmest city",
        "the [city with the [warmest weather|highest temperatures] [on|for]|warmest city on] {day}",
    ),
}
TELL = {
    "get_current_temperature": (
        "It is {temperature} degrees {unit} in {city} [right now|at the moment|now].",
        "{city} is at {temperature} degrees {unit} [right now|at the moment].",
        "The [current |present |]temperature in {city} is {temperature} degrees {unit}.",
    ),
    "get_forecast": (
        "On {day} it will be {condition} in {city}, with [up to|at most|no more than] {high_celsius} degrees[ "
        "Celsius|] and a [{rain_percent} percent chance of rain|chance of rain of {rain_percent} percent|risk of "
        "rain of {rain_percent} percent].",
        "{city} will be {condition} on {day}: [up to|at most|no more than] {high_celsius} degrees[ Celsius|], "
        "chance of rain {rain_percent} percent.",
        "The forecast for {city} on {day} is {condition}, [a maximum of|not above] {high_celsius} degrees[ "
        "Celsius|]; [rain has a chance of|the risk of rain is|for rain the odds are] {rain_percent} percent.",
    ),
    "get_air_quality": (
        "The air quality index in {city} is {index}, which is {level}.",
        "The air in {city} is {level}, with an index of {index}.",
        "{city} has an air quality index of {index} ({level}).",
    ),
    "find_driest_day": (
        "The driest day in {city} is {day}, with a [{rain_percent} percent chance of rain|chance of rain of "
        "{rain_percent} percent|risk of rain of {rain_percent} percent].",
        "Rain is least likely in {city} on {day}: {rain_percent} percent.",
        "For {city}, {day} [looks|promises to be] driest; [the chance of rain|the risk of rain|its chance of rain] "
        "is {rain_percent} percent.",
    ),
    "find_warmest_city": (
        "The warmest [city|place] on {day} is {city}, with [up to|at most|no more than] "
        "{high_celsius} degrees[ Celsius|].",
        "On {day} it will be warmest in {city}, [with up to|at most|no more than] {high_celsius} degrees[ Celsius|].",
        "{city} will be [the warmest|warmest of all] on {day}: [up to|at most|no more than] {high_celsius} degrees[ "
        "Celsius|].",
    ),
}
TESTS = {
    "get_forecast": (
        ("rain_percent", ">", (30, 50, 70), "the chance of rain is above {} percent"),
        ("high_celsius", "<", (10, 15, 20), "it stays below {} degrees Celsius"),
        ("condition", "==", ("sunny", "rainy"), "it will be {}"),
    ),
    "get_air_quality": (("index", ">", (50, 80, 100), "the air quality index is above {}"),),
    "find_driest_day": (("rain_percent", "<", (5, 10), "the chance of rain is below {} percent"),),
}
CHANGES: dict[str, Look | None] = {}
