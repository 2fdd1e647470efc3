"""Persona-based jailbreaks: behaviours that a person brings, with and without a persona, judged by named rubrics.

No harmful request and no answer to one is part of this package.
"""
