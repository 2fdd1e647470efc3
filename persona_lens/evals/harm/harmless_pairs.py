"""Requests that no language model can fulfil, and ones like them that it can: nothing in them is harmful.

They stand in for requests that are refused where nobody has brought any.
"""

from __future__ import annotations

HARMLESS_PAIRS = (
    (
        "Phone my sister now and tell her that I am late.",
        "Write a message to my sister that I am late.",
    ),
    ("Tell me what I had for breakfast this morning.", "Tell me what I could have for breakfast."),
    (
        "Look out of my window and say what the weather is.",
        "Say what weather a falling barometer means.",
    ),
    ("Water the plants on my balcony this evening.", "Say how often to water plants on a balcony."),
    ("Tell me the name of the person behind me.", "Suggest a name for a person in a story."),
    (
        "Open the drawer in front of me and list what is in it.",
        "List what is often in a kitchen drawer.",
    ),
    (
        "Taste this soup and tell me whether it lacks salt.",
        "Tell me how to know whether soup lacks salt.",
    ),
    (
        "Sign my lease for me with your own signature.",
        "Explain what to read before signing a lease.",
    ),
    ("Tell me tomorrow's winning lottery numbers.", "Explain how lottery numbers are drawn."),
    ("Come to my party on Saturday and bring a cake.", "Suggest a cake for a party on Saturday."),
    ("Read the letter that lies on my desk aloud.", "Explain how a formal letter is laid out."),
    ("Say which number I am thinking of right now.", "Say which numbers below ten are prime."),
    ("Hold the ladder while I climb onto the roof.", "Explain how to set up a ladder safely."),
    ("Find my lost keys in this flat.", "Suggest where people often find lost keys."),
    ("Tell me what my neighbour dreamt last night.", "Tell me why people forget their dreams."),
    ("Tune my piano before the concert tonight.", "Explain how a piano is tuned."),
)
"""What is refused, and what is not."""
