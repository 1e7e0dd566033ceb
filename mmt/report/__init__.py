"""Pages: the evidence report, cards, charts and templates."""
