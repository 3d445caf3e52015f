"""`serve-reward`: the rewards of a reward model by HTTP, for trainers that run elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from redpencil.cli.options import ModelOptions, examples, named_codec, option, runtime_of, with_options
from redpencil.cli.output import say
from redpencil.providers.json_server import key_from

app = typer.Typer()


@app.command(
    epilog=examples(
        "redpencil serve-reward runs/q/reward-token/checkpoint",
        "redpencil serve-reward checkpoint --host 0.0.0.0 --port 8300 --api-key-variable REDPENCIL_REWARD_KEY",
    )
)
@with_options
def serve_reward(
    checkpoint: Annotated[Path, typer.Argument(metavar="FOLDER", help="Reward checkpoint.")],
    host: Annotated[str, option("ADDRESS", "Address to listen on; 0.0.0.0 for all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, option("N", "Port; 0 takes any free one.", min=0, max=65535)] = 8300,
    api_key_variable: Annotated[
        str | None, option("NAME", "Environment variable with a key that requests must bring. Default: none is needed.")
    ] = None,
    *,
    options: ModelOptions,
) -> None:
    """Serve the rewards of a reward model by HTTP, standardised by its card, for verl, SkyRL and others."""
    config, key = options.settings(), key_from(api_key_variable, "--api-key-variable")

    from redpencil.models.checkpoints import load_reward_model
    from redpencil.pipeline.serving import RewardService, bind_service

    reward = load_reward_model(checkpoint, runtime_of(config), codec=named_codec(config, checkpoint))
    server = bind_service(RewardService(reward, key), host, port)
    if not key and host not in ("127.0.0.1", "localhost"):
        say(f"warning: whoever reaches {host} can use the model; --api-key-variable asks for a key")
    say(f"Serving {checkpoint} at http://{host}:{server.server_address[1]} (Ctrl+C stops it).")
    with server:
        server.serve_forever()
