"""Steps of text games per second: one by one, and in batches in worker processes.

The same moves, no expert and no list of actions asked for. "here" is the game in this process, without a pool.
"""

from __future__ import annotations

import time

from hubwright.environments.text.panel import panel
from hubwright.environments.text.play import play
from hubwright.environments.text.pool import GamePool
from hubwright.environments.text.registry import open_game

MOVES = {
    "taxi": ("move north", "move east", "move south", "move west"),
    "babyai/GoToLocal": ("turn left", "go forward"),
    "textworld_express/coin": ("look around", "inventory"),
}
EPISODES, STEPS = 64, 40


def policy(moves: tuple[str, ...]):
    return lambda views: [moves[len(view.actions) % len(moves)] for view in views]


def here(name: str, moves: tuple[str, ...]) -> float:
    game = open_game(name)
    episodes = panel(game, "train", EPISODES)
    game.reset(episodes[0].seed, episodes[0].task)
    steps, start = 0, time.perf_counter()
    for episode in episodes:
        game.reset(episode.seed, episode.task)
        for number in range(STEPS):
            steps += 1
            if game.step(moves[number % len(moves)]).done:
                break
    return steps / (time.perf_counter() - start)


def pooled(name: str, moves: tuple[str, ...], workers: int, batch: int) -> float:
    with GamePool(name, workers=workers) as pool:
        episodes = panel(pool, "train", EPISODES)
        play(pool, episodes[:batch], policy(moves), batch, max_steps=2)  # the games are made, Java is warm
        start = time.perf_counter()
        rows = play(pool, episodes, policy(moves), batch, max_steps=STEPS)
        return sum(len(row.actions) for row in rows) / (time.perf_counter() - start)


def main() -> None:
    print("steps/s, resets included          here  1 worker, 1  1 worker, 32  2 workers, 32  2 x 32 / one by one")
    for name, moves in MOVES.items():
        figures = [here(name, moves), *(pooled(name, moves, *size) for size in ((1, 1), (1, 32), (2, 32)))]
        print(f"{name:28}{figures[0]:10.0f}{figures[1]:13.0f}{figures[2]:14.0f}{figures[3]:15.0f}", end="")
        print(f"{figures[3] / figures[1]:24.2f}")


if __name__ == "__main__":
    main()
