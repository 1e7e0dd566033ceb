"""Many runs: comparing fusions, features and seeds; reproducing a result."""
