import re

import pytest

from generations.images import infotext

# The expressions by which AUTOMATIC1111 reads its own text.
FACT = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def test_infotext__has_prompts_and_facts(make_request):
    request = make_request(negative_prompt="blurry", seed=4, model="sketch", guidance=7.5)

    assert infotext.of(request) == (
        "a lighthouse\nNegative prompt: blurry\nSteps: 30, CFG scale: 7.5, Seed: 4, Size: 64x64, Model: sketch"
    )


def test_infotext__without_a_negative_prompt_has_no_such_line(make_request):
    text = infotext.of(make_request(prompt="two\nlines", seed=1))

    assert text == "two\nlines\nSteps: 30, CFG scale: 7, Seed: 1, Size: 64x64, Model: blank"


def test_infotext__of_an_image_whose_renderer_takes_no_seed_has_none(make_request):
    assert infotext.of(make_request(seed=None)).endswith("Steps: 30, CFG scale: 7, Size: 64x64, Model: blank")


@pytest.mark.parametrize("model", ["sketch", "a, b", "a: b", 'quoted "name", v2'])
def test_facts__are_read_as_they_were_written(make_request, model):
    last = infotext.of(make_request(seed=5, model=model)).split("\n")[-1]

    facts = dict(FACT.findall(last))

    assert list(facts) == ["Steps", "CFG scale", "Seed", "Size", "Model"]
    assert facts["Seed"] == "5"
    assert facts["Model"].startswith('"') == (model != "sketch")
