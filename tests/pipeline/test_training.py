"""What stages that train share: alarms as they go off."""

from pathlib import Path

from redpencil.config.recipe import AlarmsConfig
from redpencil.pipeline.training import watch_metrics
from redpencil.runs import Stage


def test_each_alarm_is_told_once_as_it_first_goes_off(tmp_path: Path) -> None:
    told: list[str] = []
    stage = Stage("ppo-token", tmp_path, 0, warn=told.append)
    stage.watch = watch_metrics(stage, AlarmsConfig())
    for step in range(1, 8):
        stage.log(step, kl=50.0 if step > 3 else 4.0, length=25.0, entropy=0.5)
        assert len(told) == (step > 3), step
    assert told[0].startswith(
        "kl at step 4: the policy is 0.77 nats a token from where it started, over 0.35. Raise ppo"
    )
