"""The built-in dataset: drawings, their sentences, and the command that makes both."""
