"""The process in which the games of a pool run: `python -m hubwright.environments.text.worker FD`.

It says that it is ready, reads jobs from the pipe and answers each as soon as it is done: (number, "value", ...),
(number, "error", an error of the user's) or (number, "failed", a line), after which the slot's game is made anew. It
ends, with any Java process that it started, when nobody holds the other end.
"""

import contextlib
import os
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from ...hub_sync.errors import HubwrightError, first_line
from .interface import Frame, Outcome, TextGame
from .registry import open_game

ASKED = ("admissible", "expert", "distribution", "gold", "state")


def ask(game: TextGame, names: tuple[str, ...]) -> dict[str, Any]:
    """What a game answers, by name (`ASKED`)."""
    return {name: getattr(game, "expert_distribution" if name == "distribution" else name)() for name in names}


def frame_of(game: TextGame, outcome: Outcome, asked: tuple[str, ...]) -> Frame:
    """What is reported after reset or a step."""
    answers = {} if outcome.done else ask(game, asked)
    return Frame(
        outcome.observation, outcome.reward, outcome.done, outcome.valid, game.action,
        float(game.score()), bool(game.success()), game.max_steps, answers,
    )  # fmt: skip


class Games:
    """The games of one worker by slot, each made when it is first needed."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        self._name, self._options = name, options
        self._games: dict[int, TextGame] = {}

    def do(self, slot: int, method: str, *arguments: Any) -> Any:
        """Do one job; a game that raised something unexpected is dropped."""
        game = self._games.get(slot)
        if game is None:
            game = self._games[slot] = open_game(self._name, self._options)
        try:
            if method == "reset":
                seed, task, asked = arguments
                return frame_of(game, Outcome(game.reset(seed, task)), asked)
            if method == "step":
                action, asked = arguments
                return frame_of(game, game.step(action), asked)
            if method == "ask":
                return ask(game, *arguments)
            return game.tasks(*arguments) if method == "tasks" else game.instructions
        except HubwrightError:
            raise
        except Exception:
            del self._games[slot]
            with contextlib.suppress(Exception):
                game.close()
            raise


def serve(pipe: Connection) -> None:
    """Do jobs until the other end is closed."""
    jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def read() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                jobs.put(pipe.recv())
        os.killpg(0, signal.SIGKILL)  # this process and its Java, also while a game hangs

    threading.Thread(target=read, daemon=True).start()
    games = Games(*jobs.get())
    pipe.send((None, "ready", None))
    while True:
        for number, *job in jobs.get():
            answer: tuple[Any, ...]
            try:
                answer = number, "value", games.do(*job)
            except HubwrightError as error:
                answer = number, "error", error
            except Exception as error:
                answer = number, "failed", f"{type(error).__name__}: {first_line(error)}"[:300]
            pipe.send(answer)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
