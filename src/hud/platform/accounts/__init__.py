"""Who is calling: teams, members, keys, sessions, sign-ins; and the log of what they changed."""
