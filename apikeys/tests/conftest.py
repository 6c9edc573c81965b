import pytest
from django.core.management import call_command


@pytest.fixture
def apikey(capsys):
    """Run the command and return its standard output and standard error."""

    def run(*arguments: str) -> tuple[str, str]:
        capsys.readouterr()
        call_command("apikey", *arguments)
        return tuple(capsys.readouterr())

    return run
