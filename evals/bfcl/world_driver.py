"""Runs in the sandbox, between `SOURCES = {...}` and `prepare()`: BFCL's back-ends, and calls played on them."""

import copy
import json
import sys
import types

SOURCES: dict[str, str] = globals().get("SOURCES", {})  # assigned before this is run
PREFIX = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
MODULES = {
    "GorillaFileSystem": "gorilla_file_system", "MathAPI": "math_api", "MessageAPI": "message_api",
    "TwitterAPI": "posting_api", "TicketAPI": "ticket_api", "TradingBot": "trading_bot", "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}  # fmt: skip
STATELESS = {"MathAPI"}
# The package refuses these names before it looks for them.
FORBIDDEN = {"kill", "exit", "quit", "remove", "unlink", "popen", "Popen", "run"}
SIDES: dict = {}


def load(name):
    """A back-end's module, from its source; what it imports of the package first."""
    full = f"{PREFIX}.{name}"
    if full not in sys.modules:
        module = types.ModuleType(full)
        sys.modules[full] = module
        exec(compile(SOURCES[name], f"{name}.py", "exec"), vars(module))  # noqa: S102  the sandbox is for that
    return sys.modules[full]


def prepare():
    """The names under which the back-ends import one another, and a module one of them names and never uses."""
    parts = PREFIX.split(".")
    for end in range(1, len(parts) + 1):
        package = types.ModuleType(".".join(parts[:end]))
        package.__path__ = []
        sys.modules[package.__name__] = package
    sys.modules.setdefault("subprocess", types.ModuleType("subprocess"))
    load("long_context")


def begin(classes, config, long_context):
    """Two copies of the worlds of a row."""
    for side in ("model", "gold"):
        worlds = {}
        for name in classes:
            world = getattr(load(MODULES[name]), name)()
            if name not in STATELESS:
                world._load_scenario(copy.deepcopy(config.get(name, {})), long_context=long_context)
            worlds[name] = world
        SIDES[side] = worlds


def play(side, calls):
    """What each of [name, positional, by name] gives, as the package writes it."""
    methods = {
        name: getattr(world, name)
        for world in SIDES[side].values()
        for name in dir(world)
        if not name.startswith("_") and isinstance(getattr(world, name), types.MethodType)
    }
    return [one(methods, *from_json(call)) for call in calls]


def from_json(value):
    """A value as it was before `worlds.to_json`."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "dict":
        return {from_json(key): from_json(item) for key, item in inner}
    return {"tuple": lambda: tuple(map(from_json, inner)), "bytes": lambda: bytes.fromhex(inner),
            "complex": lambda: complex(*inner)}[kind]()  # fmt: skip


def one(methods, name, positional, arguments):
    """One call's result as text."""
    try:
        if name in FORBIDDEN:
            raise Exception(f"Function call {name} is not allowed.")
        if name not in methods:
            raise NameError(f"name {name.split('.')[0]!r} is not defined")
        result = methods[name](*positional, **arguments)
        if isinstance(result, dict):
            try:
                return json.dumps(result)
            except Exception:
                return str(result)
        return str(result)
    except Exception as error:
        return f"Error during execution: {error}"


def different():
    """Public attributes in which the two copies are not equal."""
    return [
        f"{name}.{key}"
        for name, gold in SIDES["gold"].items()
        for key, value in vars(gold).items()
        if not key.startswith("_") and getattr(SIDES["model"][name], key) != value
    ]
