from django.urls import path

from generations.studio import detail, gallery, operators, prompts, queue, selection, views

app_name = "studio"
urlpatterns = [
    path("", views.home, name="home"),
    path("studio/sign-in", views.sign_in, name="sign-in"),
    path("studio/sign-out", views.sign_out, name="sign-out"),
    path("studio/keys", views.keys, name="keys"),
    path("studio/key", views.act_as, name="act-as"),
    path("studio/operator", operators.operator, name="operator"),
    path("studio/generations", prompts.create, name="create"),
    path("studio/queue", queue.queue, name="queue"),
    path("studio/events", queue.events, name="events"),
    path("studio/previews/<uuid:id>", queue.preview, name="preview"),
    path("studio/generations/<uuid:id>/cancel", queue.cancel, name="cancel"),
    path("studio/generations/<uuid:id>/dismiss", queue.dismiss, name="dismiss"),
    path("studio/generations/<uuid:id>/again", queue.again, name="again"),
    path("studio/generations/<uuid:id>", detail.detail, name="detail"),
    path("studio/generations/<uuid:id>/labels", detail.label, name="label"),
    path("studio/generations/<uuid:id>/download.<slug:format>", detail.download, name="download"),
    path("studio/selection/delete", selection.delete, name="delete-selected"),
    path("studio/selection/restore", selection.restore, name="restore-selected"),
    path("studio/selection/labels", selection.label, name="label-selected"),
    path("studio/selection/images.zip", selection.download, name="download-selected"),
    path("studio/gallery", gallery.page, name="gallery"),
    path("studio/images/<uuid:id>", gallery.image, {"size": "full"}, name="image"),
    path("studio/thumbnails/<uuid:id>", gallery.image, {"size": "thumb"}, name="thumbnail"),
]
