"""Engines that run a command's shards on many cores or machines: this machine, Ray, SLURM."""
