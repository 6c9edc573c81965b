from lockngen.settings import *  # noqa: F403
from lockngen.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "lockngen.tests.throwaway"]
