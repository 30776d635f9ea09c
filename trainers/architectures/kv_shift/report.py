"""What a model has made of its scalars: the paper's table 4, and curves by layer and head for the card."""

from typing import Any

# (a1 > a2, b1 > b2): is the key, is the value, more of this position than of the one before?
KINDS = {
    (True, True): "key and value of this position",
    (False, True): "key of the position before, value of this one (induction)",
    (True, False): "key of this position, value of the one before",
    (False, False): "key and value of the position before",
}


def pairs(model: Any) -> list[dict[str, float]]:
    """a1, a2, b1, b2 of each key-value pair, as applied (gate and residual included), by layer and head. Empty where
    the model has no mix of both keys and values with two taps and one weight per head."""
    scalars = []
    for name, module in model.named_modules():
        if name.endswith("self_attn.kv_shift") and {"key", "value"} <= set(getattr(module, "targets", ())):
            keys, values = (module.weights(target).detach().float().cpu() for target in ("key", "value"))
            if keys.shape[1] != 2 or len(keys) != model.config.num_key_value_heads:
                return []
            for head, (key, value) in enumerate(zip(keys.tolist(), values.tolist(), strict=True)):
                names = ("a1", "a2", "b1", "b2")
                scalars.append(
                    dict(zip(names, (*key, *value), strict=True)) | {"layer": module.layer_idx, "head": head}
                )
    return scalars


def describe(model: Any, report: Any) -> None:
    """Add table and curves to a step's report; nothing for a model without key-value pairs."""
    scalars = pairs(model)
    if not scalars:
        return
    counts = dict.fromkeys(KINDS, 0)
    for pair in scalars:
        counts[pair["a1"] > pair["a2"], pair["b1"] > pair["b2"]] += 1
    rows = [
        [label, f"a1 {'>' if kind[0] else '<='} a2, b1 {'>' if kind[1] else '<='} b2", counts[kind]]
        for kind, label in KINDS.items()
    ]
    outside = sum(not all(0 <= pair[name] <= 1 for name in ("a1", "a2", "b1", "b2")) for pair in scalars)
    note = f"{len(scalars)} pairs, {outside} of them with a scalar outside [0, 1]. As table 4 of the paper."
    report.table("What the key-value pairs look at", ["", "scalars", "pairs"], rows, note)
    kinds = ("now", "induction", "value_before", "before")
    report.metrics |= {f"kv_pairs_{kind}": count for kind, count in zip(kinds, counts.values(), strict=True)}
    for title, names in (("Keys: a1 now, a2 before", ("a1", "a2")), ("Values: b1 now, b2 before", ("b1", "b2"))):
        series = {name: [[place, pair[name]] for place, pair in enumerate(scalars)] for name in names}
        report.curve(title, "layer x key-value heads + head", "learned scalar", series)
