"""The percentage of a render, computed from ComfyUI's events."""

from math import inf

import pytest

from generations.renderers.comfyui.stages import Stages

SAMPLER = {"class_type": "KSampler", "inputs": {"latent_image": ["9", 0]}}


@pytest.mark.parametrize(
    ("data", "percent"),
    [
        ({"value": 1, "max": 4}, 24),
        ({"value": 9, "max": 4}, 99),
        ({"value": 1, "max": 0}, 0),
        ({"value": 1, "max": inf}, 0),
        ({}, 0),
    ],
)
def test_percent__is_below_100(data, percent):
    stages = Stages({})

    stages.process("progress", data)

    assert stages.percent == percent


def test_percent__grows_over_two_samplers():
    stages = Stages({"1": SAMPLER, "2": SAMPLER, "9": {"class_type": "EmptyLatentImage", "inputs": {}}})

    percents = []
    for node in ("9", "1", "2"):
        stages.process("executing", {"node": node})
        for value in (1, 10, 20):
            stages.process("progress", {"node": node, "value": value, "max": 20})
            percents.append(int(stages.percent))

    assert percents == [0, 0, 0, 2, 24, 49, 51, 74, 99]
    assert (stages.percent.step, stages.percent.steps) == (20, 20)


def test_percent__grows_over_unknown_nodes_except_the_output():
    stages = Stages(
        {
            "1": {"class_type": "Own", "inputs": {"rounds": 5, "raw": [[1], 2]}},
            "2": {"class_type": "Own2", "inputs": {"image": ["1", 0]}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
        }
    )

    percents = []
    for node in ("1", "2"):
        for value in (1, 5):
            stages.process("progress", {"node": node, "value": value, "max": 5})
            percents.append(int(stages.percent))

    assert percents == [9, 49, 59, 99]


def test_percent__without_a_node_is_that_of_the_executing_node():
    stages = Stages({"1": SAMPLER, "2": SAMPLER})

    stages.process("executing", {"node": "1"})
    stages.process("progress", {"value": 1, "max": 2})

    assert stages.percent == 24


def test_percent__counts_a_cached_sampler_as_done():
    stages = Stages({"1": SAMPLER, "2": SAMPLER})

    stages.process("execution_cached", {"nodes": ["1", 7, None]})

    assert stages.percent == 49
