"""A self-check: does Persona Lens read and move the residual stream of *this* model, here, as it says?

    from persona_lens.verify import verify

    report = verify(model)         # less than a minute for a small model
    print(report)                  # each check: what was measured, the tolerance, the verdict
    report.raise_for_failures()

Or `persona-lens verify --model M`. The checks are small functions; `CHECKS` has them all:

- `persona_lens.verify.reading_checks`: the bridge, repeated readings, padding, attention sinks
- `persona_lens.verify.token_checks`: BOS and token groups
- `persona_lens.verify.logit_checks`: log-probabilities and KL
- `persona_lens.verify.plan_checks`: what interventions do to the residual stream
- `persona_lens.verify.running_checks`: interventions with a KV cache, in TransformerLens, and what they leave

No check passes on nothing: where a plan is to be seen at work, what it changed is measured too, and has a least
value.
"""

from typing import TYPE_CHECKING

from persona_lens._lazy import lazy_names

if TYPE_CHECKING:
    from persona_lens.verify.outcomes import CheckResult, Finding, Measure, NotApplicable
    from persona_lens.verify.registry import CHECKS, Check, check
    from persona_lens.verify.report import VerifyReport
    from persona_lens.verify.running import verify
    from persona_lens.verify.subject import Subject

_HOMES = {
    "CHECKS": "persona_lens.verify.running",
    "Check": "persona_lens.verify.registry",
    "CheckResult": "persona_lens.verify.outcomes",
    "Finding": "persona_lens.verify.outcomes",
    "Measure": "persona_lens.verify.outcomes",
    "NotApplicable": "persona_lens.verify.outcomes",
    "Subject": "persona_lens.verify.subject",
    "VerifyReport": "persona_lens.verify.report",
    "check": "persona_lens.verify.registry",
    "verify": "persona_lens.verify.running",
}

__all__ = [
    "CHECKS",
    "Check",
    "CheckResult",
    "Finding",
    "Measure",
    "NotApplicable",
    "Subject",
    "VerifyReport",
    "check",
    "verify",
]

__getattr__ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
