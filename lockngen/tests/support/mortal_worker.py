"""manage.py, but to paint a prompt that begins with "poison" ends the process, as a crash in a library would.

python -m lockngen.tests.support.mortal_worker procrastinate worker
"""

import os
import signal

import manage
from generations.renderers import sketch

paint = sketch.paint


def paint_or_die(request, *args):
    if request.prompt.startswith("poison"):
        os.kill(os.getpid(), signal.SIGKILL)
    return paint(request, *args)


if __name__ == "__main__":
    sketch.paint = paint_or_die
    manage.main()
