"""How far judges agree, with each other and with people, and what it does to the axis."""
