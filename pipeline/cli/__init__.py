"""The command `lungseg`: every verb, thin. What a verb needs is imported when it is called."""
