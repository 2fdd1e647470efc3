"""Stage 2: judges that say of every reply how far it plays its role, or shows its trait."""

from persona_lens.judges.base import LABELS, Case, Judge, Label, Verdict, judge_key

__all__ = ["LABELS", "Case", "Judge", "Label", "Verdict", "judge_key"]
