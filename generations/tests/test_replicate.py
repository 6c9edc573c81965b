"""Replicate's HTTP API: predictions and models, without its client libraries."""

import json
from base64 import b64encode
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.core.files.storage import default_storage
from django.test import Client

from apikeys import free_calls, tokens
from apikeys.rate_limit.throttle import Throttle
from generations.api.presenters import Viewer
from generations.dialects.replicate import operations, predictions, versions
from generations.models import Generation
from generations.renderers.base import Model
from generations.tests.support.calls import URL as NATIVE
from generations.tests.support.encoded import PNG
from generations.webhooks.models import WebhookDelivery
from generations.webhooks.signature import WebhookSecret

PREDICTIONS = "/v1/predictions"
OF_MODEL = "/v1/models/lockngen/sketch/predictions"
HOOK = "https://93.184.215.14/hook"
BASES = ["", "/v1", "/v1/v1", "/replicate", "/replicate/v1", "/replicate/v1/v1"]
VERSION = versions.version_of(Model("sketch"))


def create(api, path: str = OF_MODEL, body: dict | None = None, headers: dict | None = None, **input):
    body = {"input": {"prompt": "a cat", **input}, **(body or {})}
    return send(api, path, body, headers=headers)


def send(api, path: str, body, **options):
    return api.post(path, body, content_type="application/json", **options)


def created(api, **input) -> Generation:
    answer = create(api, **input)
    assert answer.status_code == 201, answer.content
    return Generation.objects.get(pk=answer.json()["id"])


def get(api, generation: Generation, **options) -> dict:
    return api.get(f"{PREDICTIONS}/{generation.id}", **options).json()


def assert_error(answer, status: int, title: str, *words: str) -> dict:
    error = json.loads(answer.content)
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert (error["status"], error["title"]) == (status, title)
    for word in words:
        assert word in error["detail"]
    return error


@pytest.fixture
def make_prediction(make_completed, make_generation, sql):
    """The generations of one call with these statuses."""

    def make(*statuses: str) -> list[Generation]:
        made = []
        ((submission,),) = sql(
            "INSERT INTO generations_submission (api_key_id, body_sha256) SELECT id, repeat('0', 64)"
            " FROM apikeys_apikey LIMIT 1 RETURNING id"
        )
        for status in statuses:
            generation = (make_completed if status == "completed" else make_generation)(submission_id=submission)
            if status in ("processing", "failed"):
                attempt = generation.start()
            if status == "failed":
                generation.fail(attempt, "It is too large.")
            if status == "cancelled":
                generation.cancel()
            made.append(generation)
        return made

    return make


def test_create__answers_with_a_prediction(api, key):
    answer = create(api, negative_prompt="dogs", width=64, height=128, seed=7, num_inference_steps=5, guidance_scale=2)

    shown = answer.json()
    generation = Generation.objects.get()
    assert answer.status_code == 201
    assert shown["urls"].pop("stream").startswith(f"http://testserver/v1/files/{generation.id}/events?signature=")
    assert shown == {
        "id": str(generation.id),
        "model": "lockngen/sketch",
        "version": VERSION,
        "status": "starting",
        "input": {
            "prompt": "a cat", "negative_prompt": "dogs", "width": 64, "height": 128, "seed": 7, "num_outputs": 1,
            "num_inference_steps": 5, "guidance_scale": 2.0,
        },
        "output": None,
        "error": None,
        "logs": "",
        "metrics": {},
        "data_removed": False,
        "source": "api",
        "created_at": shown["created_at"],
        "started_at": None,
        "completed_at": None,
        "urls": {
            "get": f"http://testserver/v1/predictions/{generation.id}",
            "cancel": f"http://testserver/v1/predictions/{generation.id}/cancel",
            "web": f"http://testserver/admin/generations/generation/{generation.id}/change/",
        },
    }  # fmt: skip
    assert shown["created_at"].endswith("Z")
    assert (generation.api_key, generation.model, generation.steps) == (key, "sketch", 5)


@pytest.mark.parametrize(
    "version",
    ["sketch", "default", "lockngen/sketch", f"lockngen/sketch:{VERSION}", VERSION, "someone/sketch", "x/default"],
)
def test_create__finds_the_model_of_a_version(api, version):
    answer = create(api, PREDICTIONS, {"version": version})

    assert (answer.status_code, answer.json()["model"], answer.json()["version"]) == (201, "lockngen/sketch", VERSION)


@pytest.mark.parametrize("version", ["dall-e-3", "flux/schnell", "flux/schnell:0123", "0123", "lockngen/old:0123"])
def test_create__finds_the_model_of_an_alias(api, settings, version):
    aliases = {"dall-e-3": "default", "flux/schnell": "sketch", "0123": "sketch", "lockngen/old": "default"}
    settings.MODEL_ALIASES = aliases

    assert create(api, PREDICTIONS, {"version": version}).json()["model"] == "lockngen/sketch"
    assert create(api, "/v1/models/flux/schnell/predictions").status_code == 201
    assert api.get("/v1/models/flux/schnell").json()["name"] == "sketch"


@pytest.mark.parametrize("version", ["x", "lockngen/x", f"lockngen/sketch:{'0' * 64}", f"x/y:{VERSION}", "0" * 64, ""])
def test_create__of_an_unknown_version_is_refused(api, version):
    error = assert_error(
        create(api, PREDICTIONS, {"version": version}), 422, "Unprocessable Entity", "version", "lockngen/sketch"
    )

    assert error["invalid_fields"][0]["field"] == "version"
    assert not Generation.objects.exists()


def test_create__needs_a_version(api):
    assert_error(create(api, PREDICTIONS), 422, "Unprocessable Entity", "version", "required")


def test_create__of_an_unknown_model_is_a_404(api):
    assert_error(create(api, "/v1/models/lockngen/x/predictions"), 404, "Not Found", "lockngen/x", "lockngen/sketch")


@pytest.mark.parametrize("base", BASES)
def test_operations__have_all_base_addresses(api, base):
    id = create(api, f"{base}/models/lockngen/sketch/predictions").json()["id"]

    assert create(api, f"{base}/predictions", {"version": "sketch"}).status_code == 201
    assert api.get(f"{base}/predictions/{id}").json()["id"] == id
    assert len(api.get(f"{base}/predictions").json()["results"]) == 2
    assert api.get(f"{base}/models/lockngen/sketch").json()["name"] == "sketch"
    assert api.get(f"{base}/account").json()["name"] == "Test"
    assert_error(api.get(f"{base}/predictions/x"), 404, "Not Found")
    assert_error(Client().get(f"{base}/predictions"), 401, "Unauthenticated", "API key")


@pytest.mark.parametrize(
    ("input", "stored"),
    [
        ({"steps": 9, "guidance": 3}, {"steps": 9, "guidance": 3}),
        ({"num_inference_steps": 4, "guidance_scale": 0}, {"steps": 4, "guidance": 0}),
        ({"output_format": "jpg", "output_quality": 90}, {"output_format": "jpeg", "quality": 90}),
        ({"output_format": "webp", "output_quality": 0}, {"output_format": "webp", "quality": 1}),
        ({"output_format": "png", "output_quality": 80}, {"output_format": "png", "quality": None}),
        ({"output_quality": 80}, {"output_format": None, "quality": None}),
        ({"aspect_ratio": "16:9"}, {"width": 680, "height": 384}),
        ({"aspect_ratio": "1:1"}, {"width": 512, "height": 512}),
        ({"aspect_ratio": "1:99"}, {"width": 64, "height": 2048}),
        ({"aspect_ratio": "16:9", "width": 64}, {"width": 64, "height": 512}),
        ({"aspect_ratio": "match_input_image"}, {"width": 512, "height": 512}),
        ({"go_fast": True, "megapixels": "1", "image": [1], "seed": None, "width": None}, {"seed": None, "width": 512}),
    ],
)
def test_input__becomes_parameters(api, input, stored):
    generation = created(api, **input)

    assert {name: getattr(generation, name) for name in stored} == stored


@pytest.mark.parametrize(
    ("input", "field"),
    [
        ({"prompt": None}, "input.prompt"),
        ({"prompt": " "}, "input.prompt"),
        ({"width": 65}, "input.width"),
        ({"num_outputs": 11}, "input.num_outputs"),
        ({"num_inference_steps": 0}, "input.num_inference_steps"),
        ({"guidance_scale": "high"}, "input.guidance_scale"),
        ({"output_format": "gif"}, "input.output_format"),
        ({"output_quality": 101}, "input.output_quality"),
        ({"seed": -1}, "input.seed"),
    ],
)
def test_input__that_is_invalid_names_its_field(api, input, field):
    error = assert_error(create(api, **input), 422, "Unprocessable Entity", field)

    assert [each["field"] for each in error["invalid_fields"]] == [field]
    assert not Generation.objects.exists()


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"input": 1}', '{"input": []}', '{"input": null}', "{", b"\xff"])
def test_body__that_is_no_prediction_is_refused(api, body):
    answer = send(api, PREDICTIONS, body)

    assert_error(answer, answer.status_code, {400: "Bad Request", 422: "Unprocessable Entity"}[answer.status_code])


@pytest.mark.parametrize(
    ("fields", "events"),
    [
        ({"webhook": HOOK}, ["output", "completed"]),
        ({"webhook": HOOK, "webhook_events_filter": []}, ["output", "completed"]),
        ({"webhook": HOOK, "webhook_events_filter": ["start", "logs"]}, ["start", "logs"]),
        ({"webhook_completed": HOOK}, ["completed"]),
    ],
)
def test_create__stores_its_webhook(api, fields, events):
    generation = Generation.objects.get(pk=create(api, body=fields).json()["id"])

    assert (generation.submission.webhook, generation.submission.webhook_events) == (HOOK, events)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"webhook": "example.org"}, "webhook"),
        ({"webhook": "http://127.0.0.1/"}, "webhook"),
        ({"webhook": HOOK, "webhook_events_filter": ["end"]}, "webhook_events_filter.0"),
        ({"webhook_events_filter": ["completed"]}, "webhook_events_filter"),
    ],
)
def test_create__refuses_an_invalid_webhook(api, fields, field):
    error = assert_error(create(api, body=fields), 422, "Unprocessable Entity", field)

    assert error["invalid_fields"][0]["field"] == field


@pytest.mark.parametrize(
    ("statuses", "event", "senders"),
    [
        (["pending"], "start", [0]),
        (["processing", "processing"], "start", [0]),
        (["completed", "completed"], "output", [0, 1]),
        (["completed", "processing"], "completed", []),
        (["completed", "completed", "failed"], "completed", [2]),
        (["cancelled"], "completed", [0]),
    ],
)
def test_webhook__has_the_prediction_once_for_its_start_and_end(make_prediction, key, statuses, event, senders):
    made = make_prediction(*statuses)
    viewer = Viewer("https://images.example.org", key.pk)

    sent = [predictions.as_webhook(WebhookDelivery(event=event), generation, viewer) for generation in made]

    assert [number for number, shown in enumerate(sent) if shown] == senders
    assert {shown["id"] for shown in sent if shown} <= {str(made[0].pk)}


def test_webhook__has_signed_addresses_and_no_progress_of_reports(make_prediction, key):
    (generation,) = make_prediction("completed")

    shown = predictions.as_webhook(
        WebhookDelivery(event="completed"), generation, Viewer("http://images.example.org", key.pk)
    )

    assert shown["output"][0].startswith("http://images.example.org/api/v1/generations/")
    assert (shown["status"], shown["logs"]) == ("succeeded", "100%|██████████| 100/100")


def test_webhook_secret__is_that_of_the_key(api, key):
    answer = api.get("/v1/webhooks/default/secret")

    assert answer.json() == {"key": WebhookSecret.objects.of(key).secret}
    assert answer["Cache-Control"] == "no-store"


def test_create__refuses_a_deadline(api):
    assert_error(create(api, headers={"Cancel-After": "1m"}), 422, "Unprocessable Entity", "Cancel-After")


def test_create__of_several_outputs_is_one_prediction(api):
    shown = create(api, num_outputs=3, seed=5).json()

    assert shown["id"] == str(Generation.objects.order_by("id").first().id)
    assert (shown["input"]["num_outputs"], shown["input"]["seed"]) == (3, 5)
    assert sorted(Generation.objects.values_list("seed", flat=True)) == [5, 6, 7]
    assert [each["id"] for each in api.get(PREDICTIONS).json()["results"]] == [shown["id"]]


def test_create__is_repeated_by_its_key_and_by_a_client_library(api):
    first = create(api, headers={"Idempotency-Key": "a"})
    again = create(api, headers={"Idempotency-Key": "a"})
    library = [create(api, seed=1, headers={"X-Stainless-Retry-Count": count}) for count in "01"]

    assert (first.json()["id"], again["Idempotent-Replayed"]) == (again.json()["id"], "true")
    assert library[0].json()["id"] == library[1].json()["id"]
    assert Generation.objects.count() == 2


@pytest.mark.parametrize(
    ("statuses", "shown"),
    [
        (["pending"], "starting"),
        (["processing"], "processing"),
        (["completed", "pending"], "processing"),
        (["completed", "failed", "processing"], "processing"),
        (["completed", "completed"], "succeeded"),
        (["completed", "cancelled"], "canceled"),
        (["cancelled", "failed", "completed"], "failed"),
    ],
)
def test_status__is_that_of_all_outputs(api, make_prediction, statuses, shown):
    made = make_prediction(*statuses)

    prediction = get(api, made[0])

    assert prediction["status"] == shown
    assert len(prediction["output"] or []) == statuses.count("completed")
    assert (prediction["completed_at"] is None) == (shown in ("starting", "processing"))
    assert prediction["error"] == ("It is too large." if "failed" in statuses else None)


def test_finished_prediction__has_its_times_and_progress(api, make_completed):
    generation = make_completed()
    created_at = Generation.objects.values_list("created_at", flat=True).get()
    Generation.objects.update(
        started_at=created_at + timedelta(seconds=1), completed_at=created_at + timedelta(seconds=3)
    )

    shown = get(api, generation)

    assert shown["metrics"] == {"predict_time": 2.0, "total_time": 3.0}
    assert shown["logs"] == "100%|██████████| 100/100"


def test_output__is_a_data_url_without_tls(api, make_completed):
    assert get(api, make_completed())["output"] == [f"data:image/png;base64,{b64encode(PNG).decode()}"]


def test_output__is_a_signed_address_with_tls(api, make_completed):
    (output,) = get(api, make_completed(), secure=True)["output"]

    parts = urlsplit(output)
    assert parts.scheme == "https"
    for client in (Client(), api):  # one of the libraries also sends its key
        assert b"".join(client.get(f"{parts.path}?{parts.query}", secure=True).streaming_content) == PNG


def test_output__is_an_address_beyond_the_size_of_a_response(api, make_prediction, monkeypatch):
    monkeypatch.setattr(predictions, "MAX_INLINE_BYTES", len(PNG) + 1)
    made = make_prediction("completed", "completed")

    first, second = get(api, made[0])["output"]

    assert first.startswith("data:image/png;base64,")
    assert second.startswith(f"http://testserver{NATIVE}/{made[1].id}/image?signature=")


def test_output__is_an_address_if_its_file_cannot_be_read(api, make_completed):
    generation = make_completed()
    default_storage.delete(generation.image_path)

    assert get(api, generation)["output"][0].startswith("http://testserver/")


def test_output__of_a_deleted_generation_is_removed(api, make_prediction):
    made = make_prediction("completed", "completed")
    made[1].delete()

    shown = get(api, made[0])
    assert (len(shown["output"]), shown["data_removed"], shown["status"]) == (1, True, "succeeded")

    made[0].delete()
    assert_error(api.get(f"{PREDICTIONS}/{made[0].id}"), 404, "Not Found")


def test_prediction__is_its_owners(api, client_of, make_key, make_generation):
    stranger, generation = client_of(make_key()), make_generation()

    for answer in (
        stranger.get(f"{PREDICTIONS}/{generation.id}"),
        stranger.post(f"{PREDICTIONS}/{generation.id}/cancel"),
        stranger.get(f"/v1/files/{generation.id}/events"),
    ):
        assert_error(answer, 404, "Not Found", "prediction")
    assert stranger.get(PREDICTIONS).json() == {"previous": None, "next": None, "results": []}


def test_later_generation_of_a_call__is_no_prediction(api, make_prediction):
    made = make_prediction("pending", "pending")

    assert_error(api.get(f"{PREDICTIONS}/{made[1].id}"), 404, "Not Found")


def test_cancel__ends_all_outputs_and_is_idempotent(api, make_prediction):
    made = make_prediction("completed", "processing", "pending")

    for _ in range(2):
        answer = api.post(f"{PREDICTIONS}/{made[0].id}/cancel")
        assert (answer.status_code, answer.json()["status"], len(answer.json()["output"])) == (200, "canceled", 1)

    assert {generation.status_name for generation in Generation.objects.all()} == {"completed", "cancelled"}


def test_cancel__of_a_finished_prediction_changes_nothing(api, make_completed):
    answer = api.post(f"{PREDICTIONS}/{make_completed().id}/cancel")

    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")


def ids(page: dict) -> list[str]:
    return [each["id"] for each in page["results"]]


def follow(api, url: str) -> dict:
    parts = urlsplit(url)
    return api.get(f"{parts.path}?{parts.query}").json()


@pytest.mark.parametrize("base", BASES)
def test_list__has_pages_in_both_directions(api, make_generation, monkeypatch, base):
    monkeypatch.setattr(operations, "PAGE", 2)
    newest_first = [str(make_generation().id) for _ in range(5)][::-1]

    first = api.get(f"{base}/predictions").json()
    second = follow(api, first["next"])
    third = follow(api, second["next"])

    assert ids(first) + ids(second) + ids(third) == newest_first
    assert first["next"].startswith(f"http://testserver{base}/predictions?cursor=")
    assert (first["previous"], third["next"]) == (None, None)
    assert follow(api, third["previous"]) == second
    again = follow(api, second["previous"])
    assert (ids(again), again["previous"]) == (ids(first), None)
    assert ids(follow(api, again["next"])) == ids(second)


def test_list__is_of_one_time(api, make_generation, monkeypatch):
    monkeypatch.setattr(operations, "PAGE", 1)
    old, new = (Generation(pk=f"0{number}a2060a-d97e-74b1-8053-66d169bbcd7f") for number in (1, 2))
    for generation in (old, new):
        make_generation(pk=generation.pk)
    between = "2040-01-01T00:00:00"

    assert ids(api.get(PREDICTIONS, {"created_after": between}).json()) == [str(new.pk)]
    assert ids(api.get(PREDICTIONS, {"created_before": f"{between}Z"}).json()) == [str(old.pk)]
    both = api.get(PREDICTIONS, {"created_after": "1900-01-01T00:00:00Z"}).json()
    assert "created_after=1900-01-01T00%3A00%3A00Z" in both["next"]
    assert_error(api.get(PREDICTIONS, {"created_after": "x"}), 422, "Unprocessable Entity", "created_after")


@pytest.mark.parametrize("cursor", ["x", "r", "rAaIGCtl-dLGAU2bRabvNf", "AaIGCtl-dLGAU2bRabvNfw=="])
def test_list__refuses_an_invalid_cursor(api, cursor):
    assert_error(api.get(PREDICTIONS, {"cursor": cursor}), 422, "Unprocessable Entity", "cursor")


def test_list__reads_no_image(api, make_completed):
    make_completed()

    (shown,) = api.get(PREDICTIONS).json()["results"]

    assert shown["output"][0].startswith("http://testserver/")


def test_list__makes_as_many_queries_for_many_predictions(api, make_prediction, django_assert_max_num_queries):
    for _ in range(5):
        make_prediction("completed", "pending")
    api.get(PREDICTIONS)

    with django_assert_max_num_queries(3):
        assert len(api.get(PREDICTIONS).json()["results"]) == 5


def test_models__have_one_version_with_a_schema(api):
    (listed,) = api.get("/replicate/v1/models").json()["results"]
    shown = api.get("/v1/models/lockngen/sketch").json()
    (version,) = api.get("/v1/models/lockngen/sketch/versions").json()["results"]

    assert shown == listed == api.get("/v1/models/lockngen/default").json()
    assert shown["latest_version"] == version
    assert version == api.get(f"/v1/models/lockngen/sketch/versions/{VERSION}").json()
    assert (shown["owner"], shown["name"], version["id"]) == ("lockngen", "sketch", VERSION)
    schemas = version["openapi_schema"]["components"]["schemas"]
    assert schemas["Output"]["items"] == {"type": "string", "format": "uri"}
    input = schemas["Input"]
    assert input["required"] == ["prompt"]
    assert (
        input["properties"]["num_inference_steps"].items() >= {"type": "integer", "default": 30, "maximum": 150}.items()
    )
    assert_error(api.get("/v1/models/lockngen/x"), 404, "Not Found", "lockngen/sketch")
    assert_error(api.get(f"/v1/models/lockngen/sketch/versions/{'0' * 64}"), 404, "Not Found")


def test_version__changes_with_the_parameters_of_its_model():
    model = Model("flux", defaults={"steps": 4})

    assert versions.version_of(model) == versions.version_of(Model("flux", "x", {"steps": 4}))
    assert versions.version_of(model) != versions.version_of(Model("flux", defaults={"steps": 5}))
    assert versions.as_version(model)["openapi_schema"]["components"]["schemas"]["Input"]["properties"][
        "num_inference_steps"
    ]["default"] == 4  # fmt: skip


def test_prediction_of_a_model_that_is_gone__has_a_hidden_version(api, make_generation):
    shown = get(api, make_generation(model="gone"))

    assert (shown["model"], shown["version"]) == ("lockngen/gone", "hidden")


def test_account__is_the_key(api, key):
    assert api.get("/v1/account").json() == {
        "type": "user", "username": key.prefix, "name": "Test", "github_url": None
    }  # fmt: skip


@pytest.mark.parametrize("scheme", ["Bearer", "Token", "token"])
def test_token__has_two_schemes(key, scheme):
    assert Client().get(PREDICTIONS, headers={"Authorization": f"{scheme} {key.token}"}).status_code == 200


def test_errors__have_replicates_format(api, client_of, make_key, debug):
    assert_error(Client(headers={"Authorization": f"Token {tokens.make()}"}).get(PREDICTIONS), 401, "Unauthenticated")
    assert_error(api.get("/v1/collections"), 404, "Not Found")
    assert_error(api.get("/replicate/x"), 404, "Not Found")
    assert_error(api.put(PREDICTIONS), 405, "Method Not Allowed")
    assert_error(send(api, PREDICTIONS, b"x" * 1_100_000), 413, "Request Entity Too Large")
    limited = client_of(make_key(rate_limit=1))
    limited.get(PREDICTIONS)
    answer = limited.get(PREDICTIONS)
    error = assert_error(answer, 429, "Too Many Requests", "limit")
    assert (error["type"], int(answer["Retry-After"]) > 0) == ("urn:lockngen:problem:rate-limited", True)


def test_show__is_not_counted_but_throttled(client_of, make_key, make_generation, monkeypatch):
    key = make_key(rate_limit=1)
    generation, client = make_generation(api_key=key), client_of(key)
    monkeypatch.setattr(free_calls, "throttle", Throttle(3))

    answers = [client.get(f"{PREDICTIONS}/{generation.id}") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert_error(answers[3], 429, "Too Many Requests")
    assert client.get(PREDICTIONS).status_code == 200


def test_full_queue__is_a_429(client_of, make_key):
    full = client_of(make_key(max_pending=1))
    assert create(full).status_code == 201

    assert_error(create(full), 429, "Too Many Requests", "quota")


def test_stream__needs_no_key_with_its_signature(api, make_generation):
    generation = make_generation()
    address = urlsplit(get(api, generation)["urls"]["stream"])

    def status(path: str) -> int:
        return Client().get(f"{path}?{address.query}").status_code

    assert status(address.path) == 200
    assert status(f"{NATIVE}/{generation.id}/events") == 401
    assert status(f"/v1/files/{make_generation().id}/events") == 401
