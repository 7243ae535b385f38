"""The cluster's engine for windows and history: Spark carries the map's steps bucket by bucket, and batch checks it."""
