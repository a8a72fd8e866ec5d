"""``ragdecode serve``: pipelines as a service, with a page."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ragdecode.cli.open_pipeline import docs_option, fetch_option
from ragdecode.cli.set_option import set_option
from ragdecode.errors import InputError, RunError

if TYPE_CHECKING:
    from ragdecode.service.settings import ServiceSettings

_NEEDED = ("fastapi", "uvicorn", "multipart", "prometheus_client", "sqlalchemy")
#: Seconds for closing what is left after `shutdown_seconds`.
_LAST = 3.0


@click.command()
@click.argument("pipelines", metavar="PIPELINE...", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option(
    "--workers", default=8, show_default=True, type=click.IntRange(1, 256), help="Questions worked on at once."
)
@click.option(
    "--keys-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with one API key a line; so does the variable RAGDECODE_API_KEYS, with commas. Needed off loopback.",
)
@click.option(
    "--name", "names", multiple=True, metavar="HOST", help="Name under which the service is reached; repeatable."
)
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", help="A limit, such as queue=32; repeatable.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".ragdecode/service"),
    show_default=True,
    help="Folder of the database.",
)
@click.option("--shutdown", default=10.0, show_default=True, type=click.FloatRange(0, 600), metavar="SECONDS",
              help="How long answers may go on after SIGTERM.")  # fmt: skip
@click.option(
    "--log", type=click.Choice(["json", "text"]), default="text", show_default=True, help="Form of log lines."
)
@click.option("--only", is_flag=True, help="Do not offer the other pipelines of the app and the catalogue.")
@docs_option
@set_option
@fetch_option
def command(
    pipelines: tuple[str, ...],
    host: str,
    port: int,
    workers: int,
    keys_file: Path | None,
    names: tuple[str, ...],
    limits: tuple[str, ...],
    data: Path,
    shutdown: float,
    log: Literal["json", "text"],
    only: bool,
    docs: Path | None,
    overrides: tuple[str, ...],
    fetch: bool,
) -> None:
    """Answer questions over HTTP with each PIPELINE, a YAML file or a name; the first answers where none is named.

    The variable RAGDECODE_STORAGE takes a database address in the place of the SQLite file in the data folder.
    """
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise InputError(f"serve needs packages that are not here: {', '.join(missing)}",
                         hint="pip install 'ragdecode[serve]'")  # fmt: skip
    settings = _settings(
        host=host,
        port=port,
        workers=workers,
        api_keys=_keys(keys_file),
        names=names,
        storage=os.environ.get("RAGDECODE_STORAGE") or None,
        shutdown_seconds=shutdown,
        limits=dict(_limit(item) for item in limits),
    )
    from ragdecode.service import logs
    from ragdecode.service.service import Service

    logs.set_up(log)
    service = Service(
        pipelines,
        settings,
        data,
        overrides,
        documents=lambda loaded: docs if loaded.spec.index is not None and loaded.spec.retrieve else None,
        fetch=fetch,
        others=not only,
    )
    run(service)


def run(service: Any) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        RunError: The address cannot be listened on.
        RagDecodeError: Models or indexes could not be loaded.
    """
    import signal
    import threading

    import uvicorn

    from ragdecode.service.app import create_app
    from ragdecode.service.connections import TimelyProtocol

    settings = service.settings
    limits = settings.limits
    protocol = type("Protocol", (TimelyProtocol,), {"seconds": limits.idle_seconds})
    config = uvicorn.Config(
        create_app(service),
        host=settings.host,
        port=settings.port,
        http=protocol,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        limit_concurrency=limits.connections,
        timeout_graceful_shutdown=int(settings.shutdown_seconds),
    )
    try:
        listening = config.bind_socket() if _free(settings.host, settings.port) else None
    except SystemExit:
        listening = None
    if listening is None:
        raise RunError(f"cannot listen on {settings.host}:{settings.port}", hint="is another service there? see --port")
    server = uvicorn.Server(config)

    def failed() -> None:
        server.should_exit = True

    service.open_behind(failed)
    host, port = listening.getsockname()[:2]
    click.echo(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}", err=True)
    # uvicorn raises the signal again once it has ended: the exit is a clean one
    before = signal.signal(signal.SIGTERM, lambda *_: None) if _main_thread(threading) else None
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    if service.failure is not None:
        raise service.failure


def _main_thread(threading: Any) -> bool:
    return bool(threading.current_thread() is threading.main_thread())


def _free(host: str, port: int) -> bool:
    """Whether an address can be listened on; uvicorn ends the process where it cannot."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError:
        return False
    return True


def _settings(**values: Any) -> ServiceSettings:
    from pydantic import ValidationError

    from ragdecode.service.loopback import is_loopback
    from ragdecode.service.settings import ServiceSettings

    try:
        settings = ServiceSettings(**values)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(str(step) for step in one['loc'])}: {one['msg']}" for one in error.errors())
        raise InputError(f"the service's settings are wrong: {told}", hint="see docs/service.md") from error
    if not settings.api_keys and not is_loopback(settings.host):
        raise InputError(
            f"{settings.host} is reached from other machines: the service needs API keys there",
            hint="--keys-file FILE, or the variable RAGDECODE_API_KEYS",
        )
    return settings


def _limit(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals:
        raise InputError(f"--limit {item!r} has no value", hint="--limit queue=32")
    return name.strip(), value.strip()


def _keys(file: Path | None) -> tuple[str, ...]:
    found = os.environ.get("RAGDECODE_API_KEYS", "").split(",")
    if file is not None:
        try:
            found += file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the keys in {file} cannot be read: {error}") from error
    keys = tuple(dict.fromkeys(key.strip() for key in found if key.strip() and not key.strip().startswith("#")))
    if file is not None and not keys:
        raise InputError(f"there are no keys in {file}", hint="one key a line")
    if short := [key for key in keys if len(key) < 16]:
        raise InputError(f"{len(short)} of the API keys are shorter than 16 characters",
                         hint="python -c 'import secrets; print(secrets.token_urlsafe(32))'")  # fmt: skip
    return keys
