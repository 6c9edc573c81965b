"""manage.py, except that rendering a prompt that begins with "poison" ends the process, like a crash in a library.

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
