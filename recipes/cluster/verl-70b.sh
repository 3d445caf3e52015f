#!/bin/bash
# PPO of a 70B policy on token rewards with verl 0.9.1: 4 nodes of 8 GPUs of 80 GB, Ray running on them (`ray start`).
#
#   MODEL=meta-llama/Llama-3.1-70B-Instruct REWARD=/shared/reward-token/checkpoint TRAIN=/shared/train.parquet \
#   VALIDATION=/shared/validation.parquet bash recipes/cluster/verl-70b.sh
#
# It was composed by verl's own configuration on a CPU, and its reward loop and advantages were run there on a small
# model; it has not been run on GPUs. docs/engines.md says more.
#
# Token rewards go through verl's colocated reward model alone: its streaming path lays out one number a response.
# So verl itself serves REWARD by vLLM, which pools tokens, and the manager asks it.
set -e
: "${MODEL:?the policy}" "${REWARD:?a token reward checkpoint of redpencil}" "${TRAIN:?}" "${VALIDATION:?}"
NODES=${NODES:-4}

python3 -m verl.trainer.main_ppo \
	algorithm.adv_estimator=gae \
	algorithm.gamma=1.0 \
	algorithm.lam=1.0 \
	algorithm.use_kl_in_reward=True \
	algorithm.kl_penalty=kl \
	algorithm.kl_ctrl.kl_coef=0.02 \
	data.train_files="$TRAIN" \
	data.val_files="$VALIDATION" \
	data.train_batch_size=512 \
	data.max_prompt_length=512 \
	data.max_response_length=300 \
	actor_rollout_ref.model.path="$MODEL" \
	actor_rollout_ref.model.enable_gradient_checkpointing=True \
	actor_rollout_ref.actor.optim.lr=1e-6 \
	actor_rollout_ref.actor.ppo_mini_batch_size=256 \
	actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1 \
	actor_rollout_ref.actor.fsdp_config.param_offload=True \
	actor_rollout_ref.actor.fsdp_config.optimizer_offload=True \
	actor_rollout_ref.ref.fsdp_config.param_offload=True \
	actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=1 \
	actor_rollout_ref.rollout.name=vllm \
	actor_rollout_ref.rollout.tensor_model_parallel_size=8 \
	actor_rollout_ref.rollout.gpu_memory_utilization=0.5 \
	actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=1 \
	actor_rollout_ref.rollout.temperature=1.0 \
	critic.model.path="$MODEL" \
	critic.optim.lr=1e-5 \
	critic.ppo_micro_batch_size_per_gpu=1 \
	reward.num_workers=8 \
	reward.reward_manager.source=importlib \
	reward.reward_manager.module.path=pkg://redpencil.integrations.verl \
	reward.reward_manager.name=TokenRewardManager \
	reward.custom_reward_function.path=pkg://redpencil.integrations.verl \
	reward.custom_reward_function.name=no_score \
	reward.reward_model.enable=True \
	reward.reward_model.enable_resource_pool=False \
	reward.reward_model.model_path="$REWARD" \
	reward.reward_model.rollout.name=vllm \
	reward.reward_model.rollout.tensor_model_parallel_size=8 \
	reward.reward_model.rollout.gpu_memory_utilization=0.3 \
	+reward.reward_model.rollout.engine_kwargs.vllm.pooler_config.task=token_classify \
	trainer.nnodes="$NODES" \
	trainer.n_gpus_per_node=8 \
	trainer.total_epochs=1 \
	trainer.save_freq=20 \
	trainer.test_freq=10 \
	"$@"
