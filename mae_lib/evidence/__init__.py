"""The runs behind the course's claims: their plan, their records, the verdicts, the report."""
