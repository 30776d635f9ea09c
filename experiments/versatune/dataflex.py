"""How DataFlex 1.1.0 (PyPI) and this package draw from domains: shares, weight 0, invalid weights, kill and resume.

    pip install --no-deps --target /tmp/dataflex dataflex==1.1.0
    python experiments/versatune/dataflex.py --dataflex /tmp/dataflex [--seeds 50]

DataFlex's mixers and its manager of proportions are imported as they are (`dataflex.train.mixer`, `.dataset`); its
trainer, which needs LLaMA-Factory, is not. What the trainer does with them is done here: a snapshot of `update_step`
steps is drawn by `rebuild`, and at each boundary `mix` decides new weights and the next snapshot is drawn. In this
package the same loop is the sampler and its schedule. Both get the same losses, a function of the update alone.

A killed run is a child process that ends by SIGKILL between two updates. A new one takes what a checkpoint holds: of
DataFlex the number of steps, as its mixers and manager have nothing to save or load; of this package the schedule.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

SIZES = {"code": 400, "finance": 250, "law": 300, "medicine": 350, "other": 200, "science": 300}
NAMES = list(SIZES)
ASKED = np.array([8.1, 6.5, 5.7, 8.7, 65.0, 6.0]) / 100  # Llama-2-7B's counts in VersaTune's repository
ROWS, EVERY, UPDATES, STOP = 8, 4, 6, 3  # rows of a step, steps per update, updates, updates before the kill


def losses(update: int) -> np.ndarray:
    """Losses of the domains at an update, which fall from there at different speed."""
    return np.array([3.0, 2.8, 3.2, 2.9, 3.4, 3.1]) - 0.1 * update * np.array([1, 3, 2, 5, 1, 4])


class Rows:
    """Rows of a domain by number: all that a manager reads of a data set."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


def manager(weights: Any, seed: int = 42, sizes: dict[str, int] = SIZES) -> Any:
    from dataflex.train.dataset import MixedProportionManager

    sources = {name: Rows(size) for name, size in sizes.items()}
    return MixedProportionManager(sources, proportions=list(weights), seed=seed, logger=logging.getLogger("rows"))


def sampler(weights: Any, seed: int = 42, length: int = 1 << 20, sizes: dict[str, int] = SIZES, first: int = 0) -> Any:
    from hubwright.trainers.versatune.sampler import DomainSampler
    from hubwright.trainers.versatune.schedule import Schedule

    schedule = Schedule(list(sizes))
    schedule.add(0, np.asarray(weights, dtype=np.float64))
    return DomainSampler(sizes, schedule, seed, length, lambda: first)


def counts(numbers: list[int], sizes: dict[str, int] = SIZES) -> np.ndarray:
    """Rows of each domain among indices into the domains' rows."""
    edges = np.cumsum(list(sizes.values()))
    return np.bincount(np.searchsorted(edges, numbers, side="right"), minlength=len(sizes))


def their_counts(snapshot: Any, k: int) -> np.ndarray:
    return np.bincount([domain for domain, _ in snapshot.index_table], minlength=k)


def show(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    cells = [[f"{value:.4f}" if isinstance(value, float) else str(value) for value in row] for row in rows]
    print(f"\n## {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    print("\n".join(f"| {' | '.join(row)} |" for row in cells))


def shares(seeds: int) -> None:
    """The realised share of 50 snapshots of n rows, against the asked share."""
    rows = []
    for n in (8, 32, 128, 512):
        for name in ("DataFlex", "hubwright"):
            found = []
            for seed in range(seeds):
                if name == "DataFlex":
                    one = manager(ASKED, seed)
                    total = sum(their_counts(one.rebuild(num_samples=n), len(NAMES)) for _ in range(50))
                else:
                    total = sampler(ASKED, seed).counts(50 * n)
                found.append(total / total.sum())
            mean = np.mean(found, axis=0)
            rows.append([n, name, float(mean[NAMES.index("law")]), float(mean[-1]), float(np.abs(mean - ASKED).max()),
                         float(np.std(found, axis=0).max())])  # fmt: skip
    law = NAMES.index("law")
    columns = ["rows per snapshot", "", f"law (asked {ASKED[law]:.4f})", f"science, the last (asked {ASKED[-1]:.4f})",
               "largest bias", "largest standard deviation"]  # fmt: skip
    show(f"Realised share over 50 snapshots, mean of {seeds} seeds", columns, rows)


def passes() -> None:
    """Different rows among as many draws as a domain has rows."""
    one = {"law": 300, "code": 300}
    theirs = manager([1.0, 0.0], sizes=one).rebuild(num_samples=300)
    ours = [number for number, _ in zip(sampler([1.0, 0.0], sizes=one), range(300), strict=False)]
    rows = [
        ["DataFlex", len({row for domain, row in theirs.index_table if domain == 0})],
        ["hubwright", len(set(ours))],
    ]
    show("Different rows in 300 draws of a domain of 300", ["", "rows"], rows)


def weight_zero() -> None:
    rows = []
    for n in (7, 8, 32, 101):
        for place, weights in (("first", [0.0, 0.5, 0.5]), ("last", [0.5, 0.5, 0.0])):
            sizes = {"a": 50, "b": 50, "c": 50}
            at = weights.index(0.0)
            theirs = their_counts(manager(weights, sizes=sizes).rebuild(num_samples=n), 3)[at]
            rows.append([n, place, int(theirs), int(sampler(weights, sizes=sizes).counts(n)[at])])
    show("Rows drawn of a domain of weight 0", ["rows per snapshot", "the domain is", "DataFlex", "hubwright"], rows)


def invalid() -> None:
    """What 600 rows by weights that are none come to."""
    from hubwright.hub_sync.errors import HubwrightError
    from hubwright.trainers.versatune.updates import check_weights

    nan, bad = float("nan"), {"not a number": 0, "infinite": 0, "negative": 0, "all 0": 0, "one too few": 0}
    values = {"not a number": [nan, 1, 1], "infinite": [float("inf"), 1, 1], "negative": [-0.5, 1, 0.5],
              "all 0": [0, 0, 0], "one too few": [0.5, 0.5]}  # fmt: skip
    sizes, rows = {"code": 100, "law": 100, "other": 100}, []
    for name in bad:
        try:
            with np.errstate(all="ignore"):
                theirs = str(their_counts(manager(values[name], sizes=sizes).rebuild(num_samples=600), 3).tolist())
        except Exception as error:  # whatever it raises is the result
            theirs = f"{type(error).__name__}: {error}"
        try:
            check_weights(dict(zip(sizes, values[name], strict=False)), list(sizes))
            ours = "accepted"
        except HubwrightError as error:
            ours = str(error)
        rows.append([name, values[name], theirs, ours])
    show("Weights that are none (600 rows of three domains)", ["", "weights", "DataFlex", "hubwright"], rows)


def course(whose: str, checkpoint: Path, log: Path, kill: bool) -> None:
    """One process's training: the rows and the weights of every update, appended to `log`; begins at `checkpoint`."""
    begin = json.loads(checkpoint.read_text()) if checkpoint.exists() else {"update": 0, "history": []}
    run = their_course if whose == "DataFlex" else our_course
    for update, weights, ids, history in run(begin):
        with log.open("a") as stream:
            stream.write(json.dumps({"update": update, "weights": weights, "ids": ids}) + "\n")
        partial = checkpoint.with_suffix(".partial")
        partial.write_text(json.dumps({"update": update + 1, "history": history}))
        partial.replace(checkpoint)
        if kill and update + 1 == STOP:
            os.kill(os.getpid(), signal.SIGKILL)


def their_course(begin: dict[str, Any]) -> Any:
    from dataflex.train.mixer import ODMMixer

    one = manager(ASKED)
    mixer, batch = ODMMixer(one, warmup_steps=0), None
    snapshot = one.rebuild(num_samples=ROWS * EVERY)  # of the first loader, also where a run is resumed
    for update in range(begin["update"], UPDATES):
        if update:
            if batch is not None:
                mixer.update_batch_info(float(losses(update)[batch[0][0]]), batch[0][0])
            one.set_proportions(mixer.mix(None, update * EVERY))
            snapshot = one.rebuild(num_samples=ROWS * EVERY)
        batch = snapshot.index_table[-ROWS:]
        yield update, one.probs.tolist(), [[int(domain), int(row)] for domain, row in snapshot.index_table], []


def our_course(begin: dict[str, Any]) -> Any:
    from hubwright.trainers.versatune.updates import odm

    history: list[Any] = begin["history"] or [{"from": 0, "weights": ASKED.tolist(), "estimates": [0.0] * len(NAMES)}]
    draws = sampler(history[0]["weights"], first=begin["update"] * ROWS * EVERY)
    for record in history[1:]:
        draws.schedule.add(record["from"], np.array(record["weights"]))
    numbers = iter(draws)
    for update in range(begin["update"], UPDATES):
        if update and len(history) == update:
            last = history[-1]
            weights, estimates = odm(
                np.array(last["weights"]), losses(update), np.array(last["estimates"]), update, 0.5
            )
            history.append(
                {"from": update * ROWS * EVERY, "weights": weights.tolist(), "estimates": estimates.tolist()}
            )
            draws.schedule.add(history[-1]["from"], weights)
        ids = [next(numbers) for _ in range(ROWS * EVERY)]
        yield update, history[-1]["weights"], ids, history


def resume() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for whose in ("DataFlex", "hubwright"):
            found = {}
            for way in ("whole", "killed"):
                place = Path(folder) / whose / way
                place.mkdir(parents=True)
                command = [sys.executable, __file__, "--dataflex", *sys.path[:1], "--child", whose, str(place)]
                codes = [subprocess.run([*command, way], check=False, capture_output=True).returncode]
                if way == "killed":
                    codes.append(subprocess.run([*command, "on"], check=False, capture_output=True).returncode)
                assert codes == ([0] if way == "whole" else [-signal.SIGKILL, 0]), codes
                found[way] = [json.loads(line) for line in (place / "log").read_text().splitlines()]
            whole, killed = found["whole"], found["killed"]
            pairs = list(zip(whole, killed, strict=True))[STOP:]
            same = sum(a == b for one, two in pairs for a, b in zip(one["ids"], two["ids"], strict=True))
            gap = max(float(np.abs(np.subtract(one["weights"], two["weights"])).max()) for one, two in pairs)
            equal = sum(one["weights"] == two["weights"] for one, two in pairs)
            rows.append([whose, f"{same} of {ROWS * EVERY * len(pairs)}", f"{equal} of {len(pairs)}", gap])
    columns = ["", "equal rows", "equal weights", "largest difference of a weight"]
    show(f"Killed after update {STOP} of {UPDATES} and resumed, against a run without a kill", columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataflex", type=Path, required=True, help="folder with the package")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    # Before this file's own folder, where its name would stand for the package.
    sys.path[0] = str(arguments.dataflex.resolve())
    logging.disable(logging.CRITICAL)
    if arguments.child:
        whose, place, way = arguments.child
        course(whose, Path(place) / "checkpoint", Path(place) / "log", way == "killed")
        return
    shares(arguments.seeds)
    passes()
    weight_zero()
    invalid()
    resume()


if __name__ == "__main__":
    main()
