"""The paper's table 4 from planted scalars."""

from __future__ import annotations

import torch
from kv_shift_parts import make

from hubwright.hub_sync.context import Report
from hubwright.trainers.architectures.kv_shift.report import describe, pairs


def test_pairs_are_counted_by_what_they_look_at():
    model = make(num_hidden_layers=2)
    planted = [[(0.1, 0.9), (0.8, 0.2)], [(0.6, 0.4), (1.3, -0.3)], [(0.2, 0.8), (0.5, 0.5)], [(0.5, 0.5), (0.9, 0.1)]]
    with torch.no_grad():
        for place, (key, value) in enumerate(planted):
            shift = model.model.layers[place // 2].self_attn.kv_shift
            shift.key[place % 2], shift.value[place % 2] = torch.tensor(key), torch.tensor(value)
    report = Report()
    describe(model, report)
    assert [row[2] for row in report.tables[0]["rows"]] == [1, 2, 0, 1]
    assert report.metrics["kv_pairs_induction"] == 2
    assert report.tables[0]["note"].startswith("4 pairs, 1 of them with a scalar outside")
    keys, values = report.curves
    assert [round(y, 4) for _, y in keys["series"]["a2"]] == [0.9, 0.4, 0.8, 0.5]
    assert [round(y, 4) for _, y in values["series"]["b1"]] == [0.8, 1.3, 0.5, 0.9]


def test_a_gate_and_a_residual_are_seen_as_applied():
    model = make(shift_gate="sigmoid")
    for pair in pairs(model):
        assert abs(pair["a1"] + pair["a2"] - 1) < 1e-6
    model = make(shift_residual=True, shift_init="identity")
    assert all((pair["a1"], pair["a2"]) == (1.0, 0.0) for pair in pairs(model))


def test_models_without_pairs_have_no_table():
    for options in (
        {"shift_targets": []},
        {"shift_targets": ["key"]},
        {"shift_kernel_size": 3},
        {"shift_per_channel": True},
    ):
        report = Report()
        describe(make(**options), report)
        assert not report.tables and not report.curves
