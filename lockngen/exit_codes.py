"""Exit codes of the commands of manage.py; docs/operations.md lists them."""

FAILED = 1  # refused, or failed for another reason than those below
USAGE = 2  # wrong arguments, as argparse has it
DATABASE = 3  # the database can't be used
NOT_FOUND = 4  # what the arguments name doesn't exist, or isn't unique
INTERRUPTED = 130  # as a shell reports SIGINT
BROKEN_PIPE = 141  # as a shell reports SIGPIPE: the reader of the output has ended
