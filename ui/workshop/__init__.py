"""What every card uses: the visit, the lane of work, models, pictures, verdicts, files."""
