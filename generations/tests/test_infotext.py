import re
from io import BytesIO

import pytest
from sd_parsers import ParserManager

from generations.images import formats, infotext
from generations.images.formats import Output
from generations.tests.support.encoded import PNG

# The expressions by which AUTOMATIC1111 reads its own text.
FACT = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def test_infotext__has_prompts_and_facts(make_request):
    request = make_request(negative_prompt="blurry", seed=4, model="sketch", guidance=7.5)

    assert infotext.of(request) == (
        "a lighthouse\nNegative prompt: blurry\n"
        "Steps: 30, Sampler: Automatic, CFG scale: 7.5, Seed: 4, Size: 64x64, Model: sketch"
    )


def test_infotext__without_a_negative_prompt_has_no_such_line(make_request):
    text = infotext.of(make_request(prompt="two\nlines", seed=1))

    assert text == "two\nlines\nSteps: 30, Sampler: Automatic, CFG scale: 7, Seed: 1, Size: 64x64, Model: blank"


def test_infotext__of_an_image_whose_renderer_takes_no_seed_has_none(make_request):
    assert infotext.of(make_request(seed=None)).endswith(
        "Steps: 30, Sampler: Automatic, CFG scale: 7, Size: 64x64, Model: blank"
    )


@pytest.mark.parametrize("model", ["sketch", "a, b", "a: b", 'quoted "name", v2'])
def test_facts__are_read_as_they_were_written(make_request, model):
    last = infotext.of(make_request(seed=5, model=model)).split("\n")[-1]

    facts = dict(FACT.findall(last))

    assert list(facts) == ["Steps", "Sampler", "CFG scale", "Seed", "Size", "Model"]
    assert facts["Seed"] == "5"
    assert facts["Model"].startswith('"') == (model != "sketch")


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_infotext__is_found_in_an_image_by_other_tools(make_request, format):
    request = make_request(prompt="a café ☃, at dusk", negative_prompt="fog, rain", seed=5, model="sketch")

    image = formats.read(PNG, Output(format, parameters=infotext.of(request))).content

    found = ParserManager().parse(BytesIO(image))
    assert [prompt.value for prompt in found.prompts] == [request.prompt]
    assert [prompt.value for prompt in found.negative_prompts] == ["fog, rain"]
    assert [model.name for model in found.models] == ["sketch"]
    assert found.samplers[0].parameters == {"cfg_scale": "7", "seed": "5", "steps": "30"}
