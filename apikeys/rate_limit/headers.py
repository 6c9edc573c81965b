from django.http import HttpRequest, HttpResponse

from lockngen.web import problems


class LimitHeadersMiddleware:
    """Adds the state of the key's rate limit to the response of every counted call, including errors."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        auth_result = getattr(request, "auth_result", None)
        if auth_result and auth_result.rate_limit_state:
            for name, value in auth_result.rate_limit_state.headers().items():
                response[name] = value
        if auth_result and not auth_result.is_admitted:
            return problems.unlogged(response)  # apikeys.authentication has logged it, with the reason
        return response
