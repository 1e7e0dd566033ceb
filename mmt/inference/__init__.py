"""A trained model at work: translating, scoring, labelling, embedding, exporting."""
