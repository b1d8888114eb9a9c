"""Secrets: a value that does not show itself, and the three places it may come from."""

from __future__ import annotations

import re
from pathlib import Path

from reconciler.config.rule import Place, Rule, Shape, Wrong, shown, shown_path

_LONGEST = 8192
_REFERENCE = re.compile(r"(env|file|credential):(.+)", re.DOTALL)
_WRITE = "write env:NAME, file:PATH or credential:NAME, never the secret itself"


class Secret:
    """A token or key; only `reveal` gives its value."""

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        """Take the bare value."""
        self.__value = value

    def reveal(self) -> str:
        """Give the value: for the request's header and for redaction, nothing else."""
        return self.__value

    def __repr__(self) -> str:
        """Show that there is one."""
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        """Compare values."""
        return isinstance(other, Secret) and other.reveal() == self.__value

    def __hash__(self) -> int:
        """Agree with `__eq__`."""
        return hash(self.__value)


def secret(variable: str) -> Rule:
    """Take a reference to a secret and fetch it; `variable` is the usual environment variable."""
    return Rule(Shape.TEXT, _fetch, example=f'"env:{variable}"')


def _fetch(reference: str, place: Place) -> Secret:
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise Wrong("is not a reference to a secret", _WRITE)
    if not place.secrets:
        return Secret("")
    kind, name = match.groups()
    match kind:
        case "env":
            value = _from_environment(name, place)
        case "file":
            value = _from_file("file", place.folder / name)
        case _:
            value = _from_credential(name, place)
    if not value.isascii() or not value.isprintable() or " " in value:
        raise Wrong(
            f"comes from {shown(match[0])} with a blank, control or non-ASCII character in it", "store the bare secret"
        )
    return Secret(value)


def _from_environment(name: str, place: Place) -> str:
    if not name.isidentifier():
        raise Wrong("has something after env: that is no name of a variable", _WRITE)
    value = place.environ.get(name)
    if value is None:
        raise Wrong(f"names the environment variable {name}, which is not set", "set it where the reconciler starts")
    if not value:
        raise Wrong(f"names the environment variable {name}, which is empty", "put the secret into it")
    return value


def _from_credential(name: str, place: Place) -> str:
    """Read what systemd laid down (systemd.exec(5), "LoadCredential=")."""
    if not re.fullmatch(r"[\w.-]+", name) or name in {".", ".."}:
        raise Wrong("has something after credential: that is no name of a credential", _WRITE)
    folder = place.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise Wrong(
            f"names the credential {name}, but CREDENTIALS_DIRECTORY is not set",
            f"start it with systemd and LoadCredential={name}:PATH in the unit",
        )
    return _from_file("credential", Path(folder) / name)


def _from_file(kind: str, path: Path) -> str:
    named = f"names the {kind} {shown_path(path)}, which"
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
    except FileNotFoundError:
        raise Wrong(f"{named} does not exist", "create it with nothing but the secret in it") from None
    except IsADirectoryError:
        raise Wrong(f"{named} is a folder", "name a file in it") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise Wrong(f"{named} cannot be read ({reason or 'bad name'})", "let this user read it") from None
    value = content.decode("utf-8", errors="replace").rstrip("\r\n")
    if not value:
        raise Wrong(f"{named} is empty", "put the secret into it")
    if len(content) > _LONGEST:
        raise Wrong(f"{named} is longer than {_LONGEST} bytes", "name the file that holds nothing but the secret")
    return value
