"""A page of a trace: conversations turn by turn as a figure, and as text with every reply tinted by token."""

from persona_lens.pages.trace.page import trace_page

__all__ = ["trace_page"]
