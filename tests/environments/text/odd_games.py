"""Games that hang, die, differ or raise, for the tests of what runs them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from hubwright.environments.text.interface import Outcome, TextGame
from hubwright.hub_sync.settings import Settings


class OddOptions(Settings):
    folder: str = "."


class Odd(TextGame):
    """Four steps of "go" lead to the goal; what a task is called happens at the second one.

    "die once", "hang once" and "drift" do so in the first process only, which leaves a file.
    """

    name = "odd"
    max_steps = 6
    Options = OddOptions
    instructions = "Say go."

    def tasks(self, split):
        kinds = ("calm", "die", "die once", "drift", "hang", "hang once", "raise", "slow reset")
        first = {"train": 0, "dev": 100, "test": 200}[split]
        return [f"{kind}:{first + n}" for kind in kinds for n in range(8)]

    def begin(self, seed, task):
        self.kind, self.count, self.seed = task.partition(":")[0], 0, seed
        if self.kind == "slow reset":
            time.sleep(60)
        return f"{task} {seed}: nothing done."

    def act(self, action):
        if action != "go":
            return self.invalid(action)
        self.count += 1
        if self.count == 2:
            self.trouble()
        where = f" in {os.getpid()}" if self.kind == "drift" else ""
        return Outcome(f"{self.count} done with {self.seed}{where}.", 1.0, self.count == 4)

    def trouble(self):
        marker = Path(self.options.folder, self.kind.replace(" ", "_"))
        first = not marker.exists()
        marker.touch()
        if self.kind == "die" or (self.kind in ("die once", "drift") and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "hang" or (self.kind == "hang once" and first):
            time.sleep(60)
        if self.kind == "raise":
            raise ValueError("the door is\nstuck")

    def admissible(self):
        return ["go"]

    def expert(self):
        return "go"

    def score(self):
        return self.count / 4
