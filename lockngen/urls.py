from django.conf import settings
from django.contrib import admin
from django.http import Http404
from django.urls import include, path, re_path
from django.views.decorators.common import no_append_slash
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView
from django.views.i18n import set_language
from ninja.openapi.docs import Swagger

import apikeys.api
import generations.api.available_models
import generations.api.operations
import generations.dialects.automatic1111.operations
import generations.dialects.openai
import generations.dialects.replicate.operations
import generations.webhooks.api
from generations.health import Workers
from lockngen import __version__
from lockngen.health import STORAGE_THREADS, ReadinessView, Storage
from lockngen.web import problems
from lockngen.web.bodies import JSONParser
from lockngen.web.problems import ProblemAPI

api = ProblemAPI(
    title="LockN Gen",
    version=__version__,
    description="Stores prompts, renders them with image generators and serves the images.",
    # Swagger's validator would send the address of this service to a third party.
    docs=Swagger(settings={"validatorUrl": None, "persistAuthorization": True}),
    # /api/ ignores cookies, so a forged form has no effect there.
    docs_decorator=lambda view: csrf_exempt(require_safe(view)),
    parser=JSONParser(),
    servers=[{"url": "/", "description": "Where this document was fetched"}],
    openapi_extra={
        "tags": [
            {"name": "generations", "description": "Create, follow, fetch, cancel and delete generations."},
            {"name": "models", "description": "The models that a generation can use."},
            {"name": "key", "description": "The key of the call and its limits."},
            {"name": "webhooks", "description": "Events that are sent to clients, and the secret that signs them."},
        ],
        "webhooks": generations.webhooks.api.SENT,
    },
)
api.add_router("/generations", generations.api.operations.router)
api.add_router("/events", generations.api.operations.events_router)
api.add_router("/models", generations.api.available_models.router)
api.add_router("/key", apikeys.api.router)
api.add_router("/webhooks", generations.webhooks.api.router)

openai = ProblemAPI(dialect="openai", parser=JSONParser())
openai.add_router("", generations.dialects.openai.router)

automatic1111 = ProblemAPI(dialect="automatic1111", parser=JSONParser())
automatic1111.add_router("", generations.dialects.automatic1111.operations.router)

replicate = ProblemAPI(dialect="replicate", parser=JSONParser())
replicate.add_router("", generations.dialects.replicate.operations.router)

admin.site.site_header = admin.site.site_title = "LockN Gen"
admin.site.index_title = "Administration"
admin.site.enable_nav_sidebar = False  # the lists need its width


def nothing_here(request):
    raise Http404


@csrf_exempt
def lacks_v1(request):
    return problems.response(404, "The addresses of OpenAI's API begin with /v1: add it to the client's base URL.")


handler400 = "lockngen.web.error_pages.bad_request"
handler403 = "lockngen.web.error_pages.forbidden"
handler404 = "lockngen.web.error_pages.not_found"
handler500 = "lockngen.web.error_pages.server_error"

urlpatterns = [
    path("", include("generations.studio.urls")),
    path("studio/language", set_language, name="set_language"),
    path("favicon.ico", RedirectView.as_view(url=f"{settings.PUBLIC_PATH}/static/lockngen/icon.svg")),
    path("api/v1/", no_append_slash(nothing_here)),
    path("api/v1/", api.urls),
    path("sdapi/v1/", no_append_slash(nothing_here)),
    path("sdapi/v1/", automatic1111.urls),
    # Replicate's clients add v1 to their base URL or not, and it may already end in v1.
    re_path(r"^(?:replicate/)?(?:v1/){1,2}$|^replicate/$", no_append_slash(nothing_here)),
    path("v1/", openai.urls),
    path("images/generations", lacks_v1),
    re_path(r"^(?:replicate/)?(?:v1/){0,2}", replicate.urls),
    path("ht/", ReadinessView.as_view(), name="ht"),
    re_path(r"^ht/storage/?$", ReadinessView.as_view(checks=[Storage], threads=STORAGE_THREADS)),
    re_path(r"^ht/workers/?$", ReadinessView.as_view(checks=[Workers])),
    path("admin/", include("generations.urls")),
    path("admin/", admin.site.urls),
]
