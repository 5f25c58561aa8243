"""Commands that run the product, or write what it runs with."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import yaml
from flask.cli import with_appcontext

from app.cli.output import CommandError, say, say_unusable, text
from app.config.catalog import load_catalog
from app.config.errors import ConfigurationError
from app.config.settings import PROJECT_ROOT, load_settings
from app.extensions import readiness


@click.command()
def serve() -> None:
    """Serve the proxy under gunicorn, as in production."""
    # Read here first: a wrong value then shows as a sentence, not as gunicorn's traceback.
    load_settings()
    os.chdir(PROJECT_ROOT)
    gunicorn = Path(sys.executable).with_name("gunicorn")
    os.execv(gunicorn, [str(gunicorn), "--config", "gunicorn.conf.py"])  # noqa: S606  # no shell is meant


@click.command()
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    default=PROJECT_ROOT / "var",
    show_default=True,
    help="Data, logs and secrets of this machine.",
)
def run(state_dir: Path) -> None:
    """Start everything on this machine: Postgres, Valkey, LiteLLM and the proxy."""
    from app.embedded.stack import run_stack

    try:
        sys.exit(run_stack(state_dir))
    except ConfigurationError as error:
        say_unusable(error)
        sys.exit(2)


@click.command("litellm-config")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: standard output."
)
@click.option(
    "--litellm-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=PROJECT_ROOT / "var" / "litellm-venv",
    show_default=True,
    help="LiteLLM's virtual environment; packages in it switch options on.",
)
def litellm_config(output: Path | None, litellm_dir: Path) -> None:
    """Write the configuration that LiteLLM starts with in this environment."""
    from app.embedded.litellm_config import render, to_yaml
    from app.embedded.litellm_server import LiteLLMEnvironment, place_callback

    settings = load_settings()
    load_catalog(settings.litellm.config_path)
    rendered = render(
        yaml.safe_load(settings.litellm.config_path.read_text(encoding="utf-8")),
        os.environ,
        LiteLLMEnvironment(litellm_dir).has_package,
        # In production an invented answer would be taken for a model's own.
        mock_locale=None if settings.is_production else settings.locale,
    )
    _write(output, to_yaml(rendered.config))
    if output is not None:
        place_callback(output.parent)
    if rendered.keyless:
        key = "models_without_key" if settings.is_production else "models_mocked"
        variables = ", ".join(dict.fromkeys(rendered.keyless.values()))
        say(text(key, names=", ".join(rendered.keyless), variables=variables))
    if output:
        switched_on = ", ".join(rendered.switched_on) or text("nothing_switched_on")
        say(text("config_written", path=output, switched_on=switched_on))


def _write(output: Path | None, text: str) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise CommandError("cannot_write", path=output, reason=fault.strerror) from fault


@click.command()
@click.option("--off", is_flag=True, help="Take requests again.")
@with_appcontext
def drain(off: bool) -> None:
    """Turn /readyz to 503, so that load balancers send this machine no more requests."""
    readiness.drain(on=not off)
    click.echo("ready" if off else "draining")
