"""`giga chat load`: how fast a served chat is under load."""

from __future__ import annotations

import click

from gigafactory.cli.common import json_option, print_json, working

_COUNT = click.IntRange(min=1)
_MS = click.FloatRange(min=0, min_open=True)


@click.command("load")
@click.argument("url")
@click.option("--model", required=True, help="The model to ask.")
@click.option("--key", envvar="GIGA_CHAT_KEY", help="Key of the service, if it wants one.")
@click.option("--requests", "num_requests", type=_COUNT, default=100, show_default=True)
@click.option("--clients", "num_clients", type=_COUNT, default=8, show_default=True,
              help="The most requests at once.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(min=0, min_open=True),
              help="Requests a second at random; without: as fast as answers come.")  # fmt: skip
@click.option("--prompt-words", type=_COUNT, default=32, show_default=True)
@click.option("--max-tokens", type=_COUNT, default=64, show_default=True)
@click.option("--ttft", "ttft_ms", type=_MS, default=450.0, show_default=True,
              help="Goodput: the longest time to the first token, ms.")  # fmt: skip
@click.option("--tpot", "tpot_ms", type=_MS, default=40.0, show_default=True,
              help="Goodput: the longest time a token after it, ms.")  # fmt: skip
@click.option("--seed", default=0, show_default=True)
@json_option
def command(
    *,
    url: str,
    model: str,
    key: str | None,
    num_requests: int,
    num_clients: int,
    rate: float | None,
    prompt_words: int,
    max_tokens: int,
    ttft_ms: float,
    tpot_ms: float,
    seed: int,
    as_json: bool,
) -> None:
    """Send requests to the OpenAI base URL and tell how long they took.

    The figures have the names of vLLM's `bench serve`.

    Example: giga chat load http://127.0.0.1:8080/v1 --model smollm2-135m-instruct
    """
    from gigafactory import api
    from gigafactory.chat.load import Load
    from gigafactory.chat.load_figures import Promise

    load = Load(
        base_url=url, model=model, api_key=key, num_requests=num_requests, rate_per_s=rate,
        num_clients=num_clients, prompt_words=prompt_words, max_tokens=max_tokens, seed=seed,
        promise=Promise(ttft_s=ttft_ms / 1e3, tpot_s=tpot_ms / 1e3),
    )  # fmt: skip
    with working(f"asking {model} {num_requests} times"):
        found = api.load_chat(load)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        shown = f"{value:.2f}" if isinstance(value, float) else value
        click.echo(f"{name:<24} {shown}")
