"""What pytest does not collect here."""

collect_ignore = ["user.py"]  # it imports what the environment may lack, and is for type checkers
