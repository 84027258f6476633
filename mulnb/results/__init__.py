"""What a study leaves for readers: tables, verdicts, pages, and the files that hold them."""
