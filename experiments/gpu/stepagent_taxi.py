"""Step advantages against episode advantages alone: a small model on Taxi as text, several seeds, equal iterations.

    python experiments/gpu/stepagent_taxi.py --prepare taxi.json          # on the CPU, before (needs gymnasium)
    python experiments/gpu/stepagent_taxi.py --world taxi.json [--toy] [--out FILE]

A Llama of 14 M weights first learns some expert steps (behaviour cloning), then plays GROUPS tasks with ROLLOUTS
episodes each per iteration and is trained on them by PPO's clipped loss: once with GiGPO's advantages (omega 1), once
with episode advantages alone (omega 0, as GRPO). Reported by seed and method: success on fixed episodes before and
after, the share of steps whose state repeats within its group, and the difference with a t interval of 95 %.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import module, save
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

BIG = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 6}
TOY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
ROLLOUTS, LIMIT = 8, 30
T95 = {1: 12.706, 2: 4.303, 3: 3.182}


def prepare(path: Path) -> None:
    """Texts, moves and the expert's actions of all 500 states."""
    game = module("environments.text.registry").open_game("taxi")
    engine = game.make(game.tasks("train")[0])
    world: dict[str, Any] = {"actions": list(game.actions), "texts": [], "next": [], "reward": [], "end": []}
    for state in range(500):
        world["texts"].append(game.describe(engine, state))
        outcomes = [engine.P[state][action][0] for action in range(6)]
        world["next"].append([int(one[1]) for one in outcomes])
        world["reward"].append([float(one[2]) for one in outcomes])
        world["end"].append([bool(one[3]) for one in outcomes])
    world["starts"] = [int(state) for state in np.flatnonzero(engine.initial_state_distrib)]
    ends = np.array(world["end"])
    values = np.zeros(500)
    for _ in range(500):
        q = np.array(world["reward"]) + 0.95 * np.where(ends, 0.0, values[np.array(world["next"])])
        values = q.max(1)
    world["expert"] = [int(action) for action in q.argmax(1)]
    path.write_text(json.dumps(world))


class Policy:
    """A language model over whole words; an action is one answer of words and an end."""

    def __init__(self, world: dict[str, Any], shape: dict[str, int], seed: int, device: str) -> None:
        def words(text: str) -> list[str]:
            return text.replace(",", " ,").replace(".", " .").replace(";", " ;").split()

        vocabulary = sorted({word for text in [*world["texts"], *world["actions"]] for word in words(text)})
        ids = {word: number + 3 for number, word in enumerate(vocabulary)}  # 0 pads, 1 asks, 2 ends
        states = [[ids[word] for word in words(text)] + [1] for text in world["texts"]]
        width = max(map(len, states))
        self.states = torch.tensor([[0] * (width - len(one)) + one for one in states], device=device)
        answers = [[ids[word] for word in words(action)] + [2] for action in world["actions"]]
        length = max(map(len, answers))
        self.answers = torch.tensor([one + [0] * (length - len(one)) for one in answers], device=device)
        torch.manual_seed(seed)
        config = LlamaConfig(vocab_size=len(ids) + 3, max_position_embeddings=width + length, pad_token_id=0,
                             initializer_range=0.1 if shape is TOY else 0.02, **shape)  # fmt: skip
        self.model = LlamaForCausalLM(config).to(device)

    def log_probabilities(self, states: torch.Tensor) -> torch.Tensor:
        """(n, 6) of the six actions as whole answers in these states (n,)."""
        n, (actions, length) = len(states), self.answers.shape
        prompts = self.states[states].repeat_interleave(actions, 0)
        tails = self.answers.repeat(n, 1)
        ids = torch.cat([prompts, tails], 1)
        mask = (ids != 0).long()
        places = (mask.cumsum(1) - 1).clamp(min=0)
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=ids.device.type == "cuda"):
            logits = self.model(
                input_ids=ids, attention_mask=mask, position_ids=places, logits_to_keep=length + 1
            ).logits
        each = logits[:, :-1].float().log_softmax(-1).gather(2, tails[:, :, None])[..., 0]
        return (each * (tails != 0)).sum(1).view(n, actions)


def clone(policy: Policy, world: dict[str, Any], steps: int, rate: float, seed: int) -> None:
    """Behaviour cloning on half of the states."""
    generator = torch.Generator().manual_seed(seed)
    known = torch.randperm(500, generator=generator)[:250]
    expert = torch.tensor(world["expert"])
    optimiser = torch.optim.AdamW(policy.model.parameters(), lr=rate)
    for _ in range(steps):
        batch = known[torch.randint(len(known), (64,), generator=generator)].to(policy.states.device)
        loss = cross_entropy(policy.log_probabilities(batch), expert[batch.cpu()].to(batch.device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def play(policy: Policy, world: dict[str, Any], starts: list[int], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Episodes side by side, actions sampled among the six."""
    rows: list[dict[str, Any]] = [{"states": [], "actions": [], "rewards": [], "success": False} for _ in starts]
    live, place = list(range(len(starts))), list(starts)
    for _ in range(LIMIT):
        if not live:
            break
        with torch.no_grad():
            batch = torch.tensor([place[n] for n in live], device=policy.states.device)
            chances = policy.log_probabilities(batch).softmax(1).cpu().numpy().astype(float)
        going = []
        for n, chance in zip(live, chances, strict=True):
            action = int(rng.choice(6, p=chance / chance.sum()))
            state = place[n]
            rows[n]["states"].append(state)
            rows[n]["actions"].append(action)
            rows[n]["rewards"].append(world["reward"][state][action] / 20)
            if world["end"][state][action]:
                rows[n]["success"] = True
            else:
                place[n] = world["next"][state][action]
                going.append(n)
        live = going
    return rows


def improve(
    policy: Policy, world: dict[str, Any], omega: float, iterations: int, groups: int, rate: float, seed: int,
    deadline: float,
) -> float | None:  # fmt: skip
    """Iterations of play and PPO until the deadline; the mean share of steps whose state repeats in its group."""
    advantages = module("trainers.stepagent.advantages").advantages
    rng, shares = np.random.default_rng(seed), []
    optimiser = torch.optim.AdamW(policy.model.parameters(), lr=rate)
    for _ in range(iterations):
        if time.monotonic() > deadline:
            break
        tasks = [int(state) for state in rng.choice(world["starts"], groups)]
        rows = play(policy, world, [task for task in tasks for _ in range(ROLLOUTS)], rng)
        keys = [n // ROLLOUTS for n in range(len(rows))]
        values, sizes = advantages(
            keys, [row["rewards"] for row in rows], [row["states"] for row in rows], omega=omega
        )
        shares.append(float(np.mean(np.concatenate(sizes) > 1)))
        device = policy.states.device
        states, actions = (
            torch.tensor([x for row in rows for x in row[name]], device=device) for name in ("states", "actions")
        )
        weights = torch.tensor(np.concatenate(values), dtype=torch.float32, device=device)
        with torch.no_grad():
            parts = [policy.log_probabilities(part).log_softmax(1) for part in states.split(256)]
            old = torch.cat(parts).gather(1, actions[:, None])[:, 0]
        for batch in torch.randperm(len(states), device=device).split(256):
            new = policy.log_probabilities(states[batch]).log_softmax(1).gather(1, actions[batch][:, None])[:, 0]
            ratio = (new - old[batch]).exp()
            loss = -torch.min(ratio * weights[batch], ratio.clamp(0.8, 1.2) * weights[batch]).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
            optimiser.step()
    return float(np.mean(shares)) if shares else None


def success(policy: Policy, world: dict[str, Any], every: int) -> float:
    """Of one episode from every so many of the 300 first states."""
    rows = play(policy, world, world["starts"][::every], np.random.default_rng(0))
    return float(np.mean([row["success"] for row in rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepare", type=Path)
    parser.add_argument("--world", type=Path)
    parser.add_argument("--toy", action="store_true", help="a tiny model and few iterations, for the CPU")
    parser.add_argument("--seconds", type=float, default=270, help="for all of it")
    parser.add_argument("--out", type=Path)
    settings = parser.parse_args()
    if settings.prepare:
        prepare(settings.prepare)
        return
    world = json.loads(settings.world.read_text())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape, groups, iterations = (TOY, 4, 3) if settings.toy else (BIG, 16, 60)
    cloning, rate, every = (60, 3e-3, 10) if settings.toy else (300, 3e-4, 1)
    begun, seeds, rows = time.monotonic(), range(2 if settings.toy else 3), []
    for number, seed in enumerate(seeds):
        start = Policy(world, shape, seed, device)
        clone(start, world, cloning, rate, seed)
        before = success(start, world, every)
        for turn, omega in enumerate((0.0, 1.0)):
            policy = copy.copy(start)
            policy.model = copy.deepcopy(start.model)
            deadline = begun + settings.seconds * (2 * number + turn + 1) / (2 * len(seeds))
            share = improve(policy, world, omega, iterations, groups, rate / 10, seed, deadline)
            rows.append({"seed": seed, "omega": omega, "before": before, "after": success(policy, world, every),
                         "steps_whose_state_repeats": share})  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    gains = [b["after"] - a["after"] for a, b in zip(rows[::2], rows[1::2], strict=True)]
    mean, spread = float(np.mean(gains)), float(np.std(gains, ddof=1) / math.sqrt(len(gains)))
    half = T95[len(gains) - 1] * spread
    save("stepagent_taxi", {
        "rows": rows, "difference": mean, "interval": [mean - half, mean + half],
        "parameters": sum(p.numel() for p in start.model.parameters()), "seconds": time.monotonic() - begun,
    }, settings.out)  # fmt: skip


if __name__ == "__main__":
    main()
