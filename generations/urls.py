"""Pages of the admin that show no model."""

from django.contrib import admin
from django.urls import path

from generations.admin import status

urlpatterns = [path("status/", admin.site.admin_view(status), name="status")]
