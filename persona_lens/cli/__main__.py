"""`python -m persona_lens.cli`, for where the script is not on the path."""

from persona_lens.cli import main

main()
