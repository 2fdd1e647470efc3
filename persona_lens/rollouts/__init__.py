"""Stage 1: a plan of requests and the replies to it. Knows nothing of judges."""

from persona_lens.rollouts.plan import Request, Shard, plan_shards, work_units

__all__ = ["Request", "Shard", "plan_shards", "work_units"]
