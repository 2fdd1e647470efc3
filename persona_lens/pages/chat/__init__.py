"""The live chat: a page that talks to a model with and without a plan, and draws the axis."""
