"""PPO of a 70B policy on token rewards with SkyRL 0.3.0.

    export REDPENCIL_REWARD_URL=http://reward-host:8300     # redpencil serve-reward checkpoint --host 0.0.0.0
    python recipes/cluster/skyrl-70b.py trainer.policy.model.path=meta-llama/Llama-3.1-70B-Instruct \\
        trainer.critic.model.path=meta-llama/Llama-3.1-70B-Instruct trainer.algorithm.advantage_estimator=gae \\
        trainer.strategy=fsdp2 trainer.placement.policy_num_nodes=4 trainer.placement.policy_num_gpus_per_node=8 \\
        trainer.placement.critic_num_nodes=4 trainer.placement.critic_num_gpus_per_node=8 \\
        data.train_data="['/shared/train.parquet']" data.val_data="['/shared/validation.parquet']"

The generator and SkyRL's reading of its rewards were tried on a CPU; this file has not been run on GPUs.
"""

import sys

import ray
from skyrl.train.config import SkyRLTrainConfig
from skyrl.train.entrypoints.main_base import BasePPOExp
from skyrl.train.utils import validate_cfg
from skyrl.train.utils.utils import initialize_ray

from redpencil.integrations.client import client_from_environment
from redpencil.integrations.skyrl import TokenRewardGenerator, check_estimator


class TokenRewardExperiment(BasePPOExp):
    """SkyRL's PPO, whose responses are paid by a reward server."""

    def get_generator(self, cfg, tokenizer, inference_engine_client):
        """Pay what SkyRL's own generator answers."""
        check_estimator(cfg.trainer.algorithm.advantage_estimator)
        generator = super().get_generator(cfg, tokenizer, inference_engine_client)
        return TokenRewardGenerator(generator, client_from_environment(tokenizer))


@ray.remote(num_cpus=1)
def entrypoint(cfg):
    """Train in a Ray task, as SkyRL's own entry points do."""
    TokenRewardExperiment(cfg).run()


if __name__ == "__main__":
    config = SkyRLTrainConfig.from_cli_overrides(sys.argv[1:])
    validate_cfg(config)
    initialize_ray(config)
    ray.get(entrypoint.remote(config))
