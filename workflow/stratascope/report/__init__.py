"""What people read: tidy tables, headline numbers and one self-contained HTML report."""
