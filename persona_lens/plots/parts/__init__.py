"""What figures are made of: style, text, labels, panels, marks, and what they show of a space."""
