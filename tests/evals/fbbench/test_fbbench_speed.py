"""Settings of speed of FB-Bench's judge."""

from hubwright.evals.fbbench.step import JudgeStepConfig
from hubwright.hub_sync.settings import split_speed

SPEED = {"concurrency": 3, "timeout": 50, "max_retries": 1, "workers": 2, "shard_rows": 4, "engine": "ray"}


def test_speed_settings_are_no_part_of_what_is_recorded_of_the_judge() -> None:
    config = JudgeStepConfig(**SPEED)
    _, speed = split_speed(config, config.model_dump(mode="json", exclude_unset=True))
    assert speed == SPEED
