"""`python -m hubwright.hub_sync.server --root DIR --port N`: serve, without the command line's dependencies."""

import argparse
import logging
import sys
from pathlib import Path

from ..errors import HubwrightError
from .embedded import serve
from .state import DEFAULT_PORT


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hubwright.hub_sync.server")
    parser.add_argument("--root", type=Path, required=True, help="folder of the hub; created where absent")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free port")
    parser.add_argument("--verbose", action="store_true", help="one log line per request")
    options = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    if options.verbose:
        logging.getLogger("hubwright.hub").setLevel(logging.INFO)
    try:
        serve(options.root, options.port)
    except HubwrightError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
