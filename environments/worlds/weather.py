"""Weather in each city: now, and on each day of the forecast."""

import random
from typing import Any, Literal, TypedDict

from .shared import CITIES, DAYS, STATE, City, Day, NotFound, one


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
